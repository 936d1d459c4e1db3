with bars as (
    select * from {{ ref('stg_market_data__bars') }}
),

final as (
    select
        instrument_id,
        min(session) as first_session,
        max(session) as last_session,
        count(*) as n_bars
    from bars
    group by instrument_id
)

select * from final
