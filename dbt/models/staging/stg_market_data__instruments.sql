with source as (
    select * from {{ source('market_data', 'instruments') }}
),

final as (
    select
        instrument_id,
        symbol as first_symbol,
        name as instrument_name,
        sector,
        industry,
        mic,
        currency
    from source
)

select * from final
