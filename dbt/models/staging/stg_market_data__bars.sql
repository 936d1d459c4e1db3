with source as (
    select * from {{ source('market_data', 'adjusted_bars') }}
),

final as (
    select
        instrument_id,
        session,
        month,
        symbol,
        cast(close as decimal(18, 4)) as close_price,
        volume_shares,
        currency,
        gap_sessions,
        unexplained_jump as is_unexplained_jump,
        contains(quality_flags, 'sub_penny') as is_sub_penny,
        contains(quality_flags, 'extreme_range') as is_extreme_range,
        contains(quality_flags, 'volume_saturated') as is_volume_saturated
    from source
)

select * from final
