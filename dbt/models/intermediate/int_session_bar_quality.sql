with bars as (
    select * from {{ ref('stg_market_data__bars') }}
),

final as (
    select
        session,
        count(*) filter (where gap_sessions > 0) as n_after_gap,
        max(gap_sessions) as longest_gap_sessions,
        count(*) filter (where is_unexplained_jump) as n_unexplained_jumps,
        count(*) filter (where is_sub_penny) as n_sub_penny,
        count(*) filter (where is_extreme_range) as n_extreme_range,
        count(*) filter (where is_volume_saturated) as n_volume_saturated
    from bars
    group by session
)

select * from final
