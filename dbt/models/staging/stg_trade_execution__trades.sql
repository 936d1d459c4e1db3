with source as (
    select * from {{ source('trade_execution', 'trades') }}
),

final as (
    select
        event_id as fill_id,
        exec_id,
        cl_ord_id as order_id,
        order_id as broker_order_id,
        decision_id,
        session,
        month,
        instrument_id,
        side,
        -- The book's own simulation signs its fills; whatever a broker executed came over FIX.
        case when broker = 'SIMULATED' then 'simulated' else 'fix' end as fill_source,
        broker,
        mic,
        liquidity,
        last_qty as quantity,
        cast(last_px as decimal(18, 4)) as price,
        notional_minor,
        commission_minor,
        spread_cost_minor,
        cast(arrival_price as decimal(18, 4)) as arrival_price,
        slippage_bps,
        transact_time,
        settlement_date,
        currency
    from source
)

select * from final
