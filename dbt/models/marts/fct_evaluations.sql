with evaluations as (
    select * from {{ ref('stg_market_prediction__evaluations') }}
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
        evaluations.evaluation_id,
        evaluations.session,
        evaluations.month,
        evaluations.instrument_id,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        evaluations.rating,
        evaluations.strong_sell_percent,
        evaluations.sell_percent,
        evaluations.neutral_percent,
        evaluations.buy_percent,
        evaluations.strong_buy_percent,
        evaluations.score,
        evaluations.score_z,
        evaluations.horizon_sessions,
        evaluations.forecast_return_bps,
        evaluations.expected_return_bps,
        evaluations.interval_low_bps,
        evaluations.interval_high_bps,
        evaluations.volatility_bps,
        evaluations.ic_shrunk,
        evaluations.is_out_of_distribution,
        evaluations.model_version,
        evaluations.train_cutoff,
        evaluations.top_reasons,
        evaluations.reason_bps
    from evaluations
    left join instruments on evaluations.instrument_id = instruments.instrument_id
    asof left join symbols
        on evaluations.instrument_id = symbols.instrument_id
        and evaluations.session >= symbols.valid_from
)

select * from final
