{#- The errors of `domain/market_data/quality.py` that a daily line can break, in their order. -#}
{% macro quarantine_reasons() -%}
    {{ return([
        'wrong_field_count', 'unreadable_date', 'future_time', 'unknown_symbol',
        'infinite', 'not_a_number', 'price_negative', 'price_zero', 'volume_negative',
        'not_a_session', 'high_below_low', 'outside_range', 'duplicate',
        'duplicate_exact', 'unit_factor',
    ]) }}
{%- endmacro %}
