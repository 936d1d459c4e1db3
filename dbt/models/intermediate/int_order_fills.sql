with fills as (
    select * from {{ ref('stg_trade_execution__trades') }}
),

final as (
    select
        order_id,
        count(*) as n_fills,
        sum(quantity) as quantity,
        sum(notional_minor) as notional_minor,
        sum(commission_minor) as commission_minor,
        sum(spread_cost_minor) as spread_cost_minor,
        min(transact_time) as first_fill_time,
        max(transact_time) as last_fill_time,
        min(fill_source) as fill_source
    from fills
    group by order_id
)

select * from final
