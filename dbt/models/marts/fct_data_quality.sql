with sessions as (
    select * from {{ ref('int_sessions') }}
    where {{ of_this_build('month') }}
),

bars as (
    select * from {{ ref('int_session_bar_quality') }}
),

quarantine as (
    select * from {{ ref('int_session_quarantine') }}
),

equity as (
    select * from {{ ref('stg_portfolio_management__equity') }}
),

reconciliation as (
    select * from {{ ref('stg_trade_execution__reconciliation') }}
),

final as (
    select
        sessions.session,
        sessions.month,
        sessions.is_missing,
        sessions.n_bars,
        coalesce(quarantine.n_quarantined, 0) as n_quarantined,
        {%- for reason in quarantine_reasons() %}
        coalesce(quarantine.n_{{ reason }}, 0) as n_{{ reason }},
        {%- endfor %}
        coalesce(bars.n_after_gap, 0) as n_after_gap,
        coalesce(bars.longest_gap_sessions, 0) as longest_gap_sessions,
        coalesce(bars.n_unexplained_jumps, 0) as n_unexplained_jumps,
        coalesce(bars.n_sub_penny, 0) as n_sub_penny,
        coalesce(bars.n_extreme_range, 0) as n_extreme_range,
        coalesce(bars.n_volume_saturated, 0) as n_volume_saturated,
        coalesce(equity.n_stale, 0) as n_stale_positions,
        reconciliation.is_reconciled
    from sessions
    left join bars on sessions.session = bars.session
    left join quarantine on sessions.session = quarantine.session
    left join equity on sessions.session = equity.session
    left join reconciliation on sessions.session = reconciliation.session
)

select * from final
