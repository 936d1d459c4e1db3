{#- Minor units (cents) as currency units, exactly: no floating point in between. -#}
{% macro from_minor(column) -%}
    cast({{ column }} * cast(0.01 as decimal(3, 2)) as decimal(18, 2))
{%- endmacro %}
