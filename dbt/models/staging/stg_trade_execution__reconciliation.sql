with source as (
    select * from {{ source('trade_execution', 'reconciliation') }}
),

final as (
    select
        session,
        month,
        fills_agree and positions_agree as is_reconciled
    from source
)

select * from final
