-- Indices and drawdowns run from the first session; only then are the months of this build kept.
with performance as (
    select * from {{ ref('int_performance') }}
    where {{ of_this_build('month') }}
),

fills as (
    select * from {{ ref('int_session_fills') }}
),

final as (
    select
        performance.session,
        performance.month,
        performance.nav_minor,
        {{ from_minor('performance.nav_minor') }} as nav,
        cast(performance.capital_minor as bigint) as capital_minor,
        cast(performance.pnl_minor as bigint) as pnl_minor,
        {{ from_minor('cast(performance.pnl_minor as bigint)') }} as pnl,
        performance.commission_minor,
        {{ from_minor('performance.commission_minor') }} as commission,
        performance.spread_cost_minor,
        {{ from_minor('performance.spread_cost_minor') }} as spread_cost,
        {{ from_minor('(performance.commission_minor + performance.spread_cost_minor)') }}
            as total_cost,
        {{ from_minor(
            'cast(performance.pnl_minor + performance.commission_minor'
            ~ ' + performance.spread_cost_minor as bigint)'
        ) }} as pnl_before_costs,
        performance.distributions_minor,
        {{ from_minor('performance.distributions_minor') }} as distributions,
        performance.return_percent,
        performance.benchmark_return_percent,
        (performance.return_percent - performance.benchmark_return_percent) * 100
            as active_return_bps,
        performance.cumulative_return_percent,
        performance.cumulative_benchmark_percent,
        performance.drawdown_percent,
        performance.cash_minor,
        {{ from_minor('performance.cash_minor') }} as cash,
        performance.invested_minor,
        {{ from_minor('performance.invested_minor') }} as invested,
        performance.invested_percent,
        performance.n_positions,
        performance.traded_minor,
        {{ from_minor('performance.traded_minor') }} as traded,
        performance.turnover_percent,
        coalesce(fills.n_fills, 0) as n_fills,
        coalesce(fills.n_fix_fills, 0) as n_fix_fills
    from performance
    left join fills on performance.session = fills.session
)

select * from final
