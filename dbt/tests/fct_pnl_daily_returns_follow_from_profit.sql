-- The book says a return, and the marts a profit: both come from the same two net asset values,
-- and capital that moved at the open is part of what the return was earned on.
with pnl as (
    select
        *,
        lag(nav_minor) over (order by session) as previous_nav_minor
    from {{ ref('fct_pnl_daily') }}
),

final as (
    select
        session,
        return_percent,
        (nav_minor / (previous_nav_minor + capital_minor) - 1) * 100 as expected_percent
    from pnl
    where
        abs(return_percent - (nav_minor / (previous_nav_minor + capital_minor) - 1) * 100) > 1e-9
)

select * from final
