-- The balance after a session's last entry is the cash that the book says it had.
with cash as (
    select
        session,
        arg_max(balance_minor, entry_number) as balance_minor
    from {{ ref('fct_cash') }}
    group by session
),

pnl as (
    select * from {{ ref('fct_pnl_daily') }}
),

final as (
    select
        pnl.session,
        pnl.cash_minor,
        cash.balance_minor
    from cash
    inner join pnl on cash.session = pnl.session
    where cash.balance_minor != pnl.cash_minor
)

select * from final
