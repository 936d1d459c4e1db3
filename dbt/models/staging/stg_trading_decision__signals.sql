with source as (
    select * from {{ source('trading_decision', 'signals') }}
),

final as (
    select
        event_id as signal_id,
        evaluation_id,
        instrument_id,
        session,
        month,
        side,
        strength,
        confidence * 100 as confidence_percent,
        horizon_sessions,
        expected_return * 10000 as expected_return_bps,
        volatility * 10000 as volatility_bps,
        valid_from,
        valid_to,
        abstain as is_abstaining,
        abstain_reason,
        reasons
    from source
)

select * from final
