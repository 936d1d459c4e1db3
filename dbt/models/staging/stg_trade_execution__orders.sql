with source as (
    select * from {{ source('trade_execution', 'orders') }}
),

final as (
    select
        cl_ord_id as order_id,
        decision_id,
        decision_session,
        session,
        month,
        instrument_id,
        side,
        order_type,
        order_qty as order_quantity,
        filled_qty as filled_quantity,
        status,
        reason
    from source
)

select * from final
