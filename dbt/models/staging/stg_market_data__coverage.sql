with source as (
    select * from {{ source('market_data', 'coverage') }}
),

final as (
    select
        session,
        month,
        n_bars,
        n_quarantined,
        missing as is_missing
    from source
)

select * from final
