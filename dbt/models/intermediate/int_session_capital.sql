with entries as (
    select * from {{ ref('stg_cash_management__cash_entries') }}
),

final as (
    select
        session,
        sum(cash_change_minor) as capital_minor
    from entries
    where cause = 'capital'
    group by session
)

select * from final
