with entries as (
    select * from {{ ref('stg_cash_management__cash_entries') }}
),

final as (
    select
        *,
        sum(cash_change_minor) over (
            order by session, entry_number rows between unbounded preceding and current row
        ) as balance_minor
    from entries
)

select * from final
