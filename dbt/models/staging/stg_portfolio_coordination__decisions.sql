with source as (
    select * from {{ source('portfolio_coordination', 'decisions') }}
),

final as (
    select
        event_id as decision_id,
        session,
        month,
        round_number,
        instrument_id,
        strategy,
        signal_id,
        rebalance_id,
        action,
        urgency,
        core_weight * 100 as core_weight_percent,
        tilt_weight * 100 as tilt_weight_percent,
        target_weight * 100 as target_weight_percent,
        current_qty as current_quantity,
        target_qty as target_quantity,
        delta_qty as delta_quantity,
        cast(arrival_price as decimal(18, 4)) as arrival_price,
        binding_rule,
        clips,
        json_array_length(clips) as n_clips,
        valid_until
    from source
)

select * from final
