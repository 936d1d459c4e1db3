with orders as (
    select * from {{ ref('stg_trade_execution__orders') }}
    where {{ of_this_build('month') }}
),

-- Every month's: an order of a month's first session was decided in the month before.
decisions as (
    select * from {{ ref('stg_portfolio_coordination__decisions') }}
),

fills as (
    select * from {{ ref('int_order_fills') }}
),

instruments as (
    select * from {{ ref('stg_market_data__instruments') }}
),

symbols as (
    select * from {{ ref('int_instrument_symbols') }}
),

costed as (
    select
        orders.*,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        decisions.arrival_price,
        fills.fill_source,
        coalesce(fills.n_fills, 0) as n_fills,
        cast(coalesce(fills.notional_minor, 0) as bigint) as notional_minor,
        cast(coalesce(fills.commission_minor, 0) as bigint) as commission_minor,
        cast(coalesce(fills.spread_cost_minor, 0) as bigint) as spread_cost_minor,
        fills.notional_minor / 100 / fills.quantity as exact_average_price
    from orders
    left join decisions on orders.decision_id = decisions.decision_id
    left join fills on orders.order_id = fills.order_id
    left join instruments on orders.instrument_id = instruments.instrument_id
    asof left join symbols
        on orders.instrument_id = symbols.instrument_id
        and orders.session >= symbols.valid_from
),

final as (
    select
        order_id,
        decision_id,
        decision_session,
        session,
        month,
        instrument_id,
        symbol,
        sector,
        side,
        order_type,
        order_quantity,
        filled_quantity,
        order_quantity - filled_quantity as unfilled_quantity,
        filled_quantity / order_quantity * 100 as filled_percent,
        status,
        reason,
        fill_source,
        n_fills,
        arrival_price,
        cast(exact_average_price as decimal(18, 4)) as average_price,
        -- Positive is a cost: bought above, or sold below, the price of the decision.
        case side when 'buy' then 1 else -1 end
        * (exact_average_price / arrival_price - 1) * 10000 as slippage_bps,
        notional_minor,
        {{ from_minor('notional_minor') }} as notional,
        commission_minor,
        {{ from_minor('commission_minor') }} as commission,
        spread_cost_minor,
        {{ from_minor('spread_cost_minor') }} as spread_cost
    from costed
)

select * from final
