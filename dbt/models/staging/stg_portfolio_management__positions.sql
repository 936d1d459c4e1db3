with source as (
    select * from {{ source('portfolio_management', 'positions') }}
),

final as (
    select
        instrument_id,
        session,
        month,
        quantity,
        cast(price as decimal(18, 4)) as price,
        price_session,
        stale_sessions,
        stale as is_stale,
        market_value_minor,
        cost_basis_minor,
        unrealised_minor,
        weight * 100 as weight_percent
    from source
)

select * from final
