with signals as (
    select * from {{ ref('stg_trading_decision__signals') }}
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
        signals.signal_id,
        signals.evaluation_id,
        signals.session,
        signals.month,
        signals.instrument_id,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        signals.side,
        signals.strength,
        signals.confidence_percent,
        signals.horizon_sessions,
        signals.expected_return_bps,
        signals.volatility_bps,
        signals.valid_from,
        signals.valid_to,
        signals.is_abstaining,
        signals.abstain_reason,
        signals.reasons
    from signals
    left join instruments on signals.instrument_id = instruments.instrument_id
    asof left join symbols
        on signals.instrument_id = symbols.instrument_id
        and signals.session >= symbols.valid_from
)

select * from final
