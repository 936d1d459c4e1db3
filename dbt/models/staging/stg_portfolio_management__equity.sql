with source as (
    select * from {{ source('portfolio_management', 'equity') }}
),

final as (
    select
        session,
        month,
        nav_minor,
        cash_minor,
        invested_minor,
        percent_invested * 100 as invested_percent,
        n_positions,
        n_stale,
        traded_minor,
        turnover * 100 as turnover_percent,
        commission_minor,
        spread_cost_minor,
        distributions_minor,
        daily_return * 100 as return_percent
    from source
)

select * from final
