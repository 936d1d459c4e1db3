with source as (
    select * from {{ source('market_data', 'quarantine') }}
),

final as (
    select
        raw_sha256,
        source_seq as line_number,
        session,
        month,
        symbol,
        reason
    from source
)

select * from final
