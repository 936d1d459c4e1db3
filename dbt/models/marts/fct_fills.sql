with fills as (
    select * from {{ ref('stg_trade_execution__trades') }}
    where {{ of_this_build('month') }}
),

instruments as (
    select * from {{ ref('stg_market_data__instruments') }}
),

symbols as (
    select * from {{ ref('int_instrument_symbols') }}
),

final as (
    select
        fills.fill_id,
        fills.exec_id,
        fills.order_id,
        fills.broker_order_id,
        fills.decision_id,
        fills.session,
        fills.month,
        fills.instrument_id,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        fills.side,
        fills.fill_source,
        fills.broker,
        fills.mic,
        fills.liquidity,
        fills.quantity,
        case fills.side when 'buy' then fills.quantity else -fills.quantity end as signed_quantity,
        fills.price,
        fills.notional_minor,
        {{ from_minor('fills.notional_minor') }} as notional,
        fills.commission_minor,
        {{ from_minor('fills.commission_minor') }} as commission,
        fills.spread_cost_minor,
        {{ from_minor('fills.spread_cost_minor') }} as spread_cost,
        {{ from_minor('(fills.commission_minor + fills.spread_cost_minor)') }} as total_cost,
        (fills.commission_minor + fills.spread_cost_minor)
        / nullif(fills.notional_minor, 0) * 10000 as total_cost_bps,
        fills.arrival_price,
        fills.slippage_bps,
        fills.transact_time,
        fills.settlement_date,
        fills.currency
    from fills
    left join instruments on fills.instrument_id = instruments.instrument_id
    asof left join symbols
        on fills.instrument_id = symbols.instrument_id
        and fills.session >= symbols.valid_from
)

select * from final
