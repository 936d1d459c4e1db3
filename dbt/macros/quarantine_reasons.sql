{#- The rules of `domain/market_data/normalise.py`, in their order. -#}
{% macro quarantine_reasons() -%}
    {{ return([
        'wrong_field_count', 'unreadable_date', 'unknown_symbol', 'not_a_number',
        'price_not_positive', 'volume_negative', 'not_a_session', 'high_below_low',
        'outside_range', 'duplicate',
    ]) }}
{%- endmacro %}
