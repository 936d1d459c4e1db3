{#- From the first session on: a drawdown knows all that went before, and nothing after. -#}
with equity as (
    select * from {{ ref('stg_portfolio_management__equity') }}
),

benchmark as (
    select * from {{ ref('stg_portfolio_management__benchmark') }}
),

capital as (
    select * from {{ ref('int_session_capital') }}
),

ordered as (
    select
        equity.*,
        benchmark.benchmark_level,
        benchmark.benchmark_return_percent,
        coalesce(capital.capital_minor, 0) as capital_minor,
        lag(equity.nav_minor) over (order by equity.session) as previous_nav_minor,
        -- Compounded, because capital that was paid in or out is no return.
        product(1 + coalesce(equity.return_percent, 0) / 100) over (order by equity.session)
            as level,
        first_value(benchmark.benchmark_level) over (order by equity.session)
            as first_benchmark_level
    from equity
    left join benchmark on equity.session = benchmark.session
    left join capital on equity.session = capital.session
),

final as (
    select
        session,
        month,
        nav_minor,
        previous_nav_minor,
        capital_minor,
        -- Money that was paid in is no profit.
        nav_minor - coalesce(previous_nav_minor, 0) - capital_minor as pnl_minor,
        cash_minor,
        invested_minor,
        invested_percent,
        n_positions,
        traded_minor,
        turnover_percent,
        commission_minor,
        spread_cost_minor,
        distributions_minor,
        return_percent,
        benchmark_return_percent,
        (level - 1) * 100 as cumulative_return_percent,
        (benchmark_level / first_benchmark_level - 1) * 100 as cumulative_benchmark_percent,
        (
            level / max(level) over (
                order by session rows between unbounded preceding and current row
            ) - 1
        ) * 100 as drawdown_percent
    from ordered
)

select * from final
