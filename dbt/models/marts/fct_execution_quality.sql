with quality as (
    select * from {{ ref('stg_trade_execution__execution_quality') }}
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
        quality.order_id,
        quality.decision_id,
        quality.decision_session,
        quality.session,
        quality.month,
        quality.instrument_id,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        quality.side,
        quality.order_type,
        quality.broker,
        quality.mic,
        quality.outcome,
        quality.reason,
        quality.order_quantity,
        quality.filled_quantity,
        quality.n_fills,
        quality.filled_minor,
        quality.average_price,
        quality.decision_price,
        quality.release_price,
        quality.release_source,
        quality.vwap_price,
        quality.twap_price,
        quality.average_source,
        quality.average_window,
        quality.close_price,
        quality.vs_decision_bps,
        quality.vs_release_bps,
        quality.vs_vwap_bps,
        quality.vs_twap_bps,
        quality.vs_close_bps,
        quality.paper_minor,
        quality.delay_minor,
        {{ from_minor('quality.delay_minor') }} as delay_cost,
        quality.execution_minor,
        {{ from_minor('quality.execution_minor') }} as execution_cost,
        quality.opportunity_minor,
        {{ from_minor('quality.opportunity_minor') }} as opportunity_cost,
        quality.fees_minor,
        {{ from_minor('quality.fees_minor') }} as fees,
        quality.shortfall_minor,
        {{ from_minor('quality.shortfall_minor') }} as shortfall,
        quality.shortfall_bps,
        quality.shortfall_null_reason,
        quality.effective_spread_bps,
        quality.realized_spread_5min_bps,
        quality.spread_null_reason,
        quality.markout_1s_bps,
        quality.markout_1min_bps,
        quality.markout_5min_bps,
        quality.markout_null_reason,
        quality.markout_close_bps,
        quality.reversion_bps,
        quality.reversion_horizon,
        quality.predicted_cost_minor,
        quality.realised_cost_minor,
        quality.send_to_ack_us,
        quality.ack_to_fill_us,
        quality.latency_null_reason,
        quality.currency
    from quality
    left join instruments on quality.instrument_id = instruments.instrument_id
    asof left join symbols
        on quality.instrument_id = symbols.instrument_id
        and quality.session >= symbols.valid_from
)

select * from final
