with bars as (
    select * from {{ ref('stg_market_data__bars') }}
),

changes as (
    select
        instrument_id,
        symbol,
        session as valid_from,
        lag(symbol) over (partition by instrument_id order by session) as symbol_before
    from bars
),

final as (
    select
        instrument_id,
        symbol,
        valid_from
    from changes
    where symbol is distinct from symbol_before
)

select * from final
