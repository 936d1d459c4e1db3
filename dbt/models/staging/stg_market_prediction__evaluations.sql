with source as (
    select * from {{ source('market_prediction', 'evaluations') }}
),

final as (
    select
        event_id as evaluation_id,
        instrument_id,
        session,
        month,
        horizon_sessions,
        rating,
        p_strong_sell * 100 as strong_sell_percent,
        p_sell * 100 as sell_percent,
        p_neutral * 100 as neutral_percent,
        p_buy * 100 as buy_percent,
        p_strong_buy * 100 as strong_buy_percent,
        score,
        score_z,
        forecast_return * 10000 as forecast_return_bps,
        expected_return * 10000 as expected_return_bps,
        interval_low * 10000 as interval_low_bps,
        interval_high * 10000 as interval_high_bps,
        volatility * 10000 as volatility_bps,
        ic_shrunk,
        model_version,
        train_cutoff,
        top_reasons,
        reason_bps,
        out_of_distribution as is_out_of_distribution
    from source
)

select * from final
