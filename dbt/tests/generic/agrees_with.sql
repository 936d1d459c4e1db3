{#- A mart has exactly the keys of what it is made from: a join lost no row and doubled none. -#}
{% test agrees_with(model, to, key, to_key=none) %}

with mart as (
    select {{ key }} as the_key, count(*) as n_rows from {{ model }} group by 1
),

origin as (
    select {{ to_key or key }} as the_key, count(*) as n_rows from {{ to }} group by 1
),

final as (
    select
        coalesce(mart.the_key, origin.the_key) as the_key,
        mart.n_rows as n_in_mart,
        origin.n_rows as n_in_origin
    from mart
    full outer join origin on mart.the_key = origin.the_key
    where mart.n_rows is distinct from origin.n_rows
)

select * from final

{% endtest %}
