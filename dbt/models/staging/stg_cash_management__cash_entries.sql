with source as (
    select * from {{ source('cash_management', 'cash_entries') }}
),

final as (
    select
        event_id as cash_entry_id,
        session,
        month,
        sequence as entry_number,
        cause,
        debit as debit_account,
        credit as credit_account,
        amount_minor,
        -- Double entries: the debited account receives what the credited one gives.
        case
            when starts_with(debit, 'asset:cash:') then amount_minor
            when starts_with(credit, 'asset:cash:') then -amount_minor
            else 0
        end as cash_change_minor,
        case
            when starts_with(debit, 'trading:') then substr(debit, 9)
            when starts_with(credit, 'trading:') then substr(credit, 9)
        end as instrument_id,
        currency,
        reference
    from source
)

select * from final
