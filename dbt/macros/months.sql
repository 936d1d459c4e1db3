{#-
    The months of a build, from the environment: `MARTS_MONTHS` is a comma-separated list of first
    days, and nothing means every month. It is read while a model is executed and never while it is
    parsed, so that another range does not cost a new parse.
-#}
{% macro of_this_build(column) -%}
    {%- set months = env_var("MARTS_MONTHS", "") if execute and not flags.FULL_REFRESH else "" -%}
    {%- if months -%}
        {{ column }} in ('{{ months.split(',') | join("', '") }}')
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#-
    `delete+insert` deletes the months that have new rows. A month whose last row is gone has none,
    and would keep its old ones: so a build's months are emptied before.
-#}
{% macro empty_months_of_this_build() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where {{ of_this_build('month') }}
    {%- else -%}
        select 1
    {%- endif -%}
{%- endmacro %}
