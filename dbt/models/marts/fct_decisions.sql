with decisions as (
    select * from {{ ref('stg_portfolio_coordination__decisions') }}
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
        decisions.decision_id,
        decisions.session,
        decisions.month,
        decisions.round_number,
        decisions.instrument_id,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        decisions.strategy,
        decisions.signal_id,
        decisions.rebalance_id,
        decisions.action,
        decisions.urgency,
        decisions.core_weight_percent,
        decisions.tilt_weight_percent,
        decisions.target_weight_percent,
        decisions.current_quantity,
        decisions.target_quantity,
        decisions.delta_quantity,
        decisions.arrival_price,
        -- Rounded once, so that cents and currency units say the same.
        cast(round(decisions.delta_quantity * decisions.arrival_price * 100) as bigint)
            as delta_notional_minor,
        cast(round(decisions.delta_quantity * decisions.arrival_price, 2) as decimal(18, 2))
            as delta_notional,
        decisions.binding_rule,
        cast(decisions.n_clips as integer) as n_clips,
        decisions.clips,
        decisions.valid_until
    from decisions
    left join instruments on decisions.instrument_id = instruments.instrument_id
    asof left join symbols
        on decisions.instrument_id = symbols.instrument_id
        and decisions.session >= symbols.valid_from
)

select * from final
