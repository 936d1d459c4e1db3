with coverage as (
    select * from {{ ref('stg_market_data__coverage') }}
),

final as (
    select
        session,
        month,
        row_number() over (order by session) as session_number,
        lag(session) over (order by session) as previous_session,
        lead(session) over (order by session) as next_session,
        n_bars,
        is_missing
    from coverage
)

select * from final
