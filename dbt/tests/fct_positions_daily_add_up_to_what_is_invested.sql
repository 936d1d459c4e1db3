with positions as (
    select
        session,
        sum(market_value_minor) as market_value_minor
    from {{ ref('fct_positions_daily') }}
    group by session
),

pnl as (
    select * from {{ ref('fct_pnl_daily') }}
),

final as (
    select
        pnl.session,
        pnl.invested_minor,
        positions.market_value_minor
    from pnl
    left join positions on pnl.session = positions.session
    where pnl.invested_minor != coalesce(positions.market_value_minor, 0)
)

select * from final
