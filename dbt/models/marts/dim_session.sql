{{ config(materialized='table') }}

with sessions as (
    select * from {{ ref('int_sessions') }}
),

final as (
    select
        session,
        month,
        session_number,
        cast(year(session) as integer) as calendar_year,
        cast(quarter(session) as integer) as calendar_quarter,
        cast(isodow(session) as integer) as iso_weekday,
        dayname(session) as weekday_name,
        previous_session,
        next_session,
        -- The newest session ends its month only once the next one has begun.
        coalesce(date_trunc('month', next_session) > session, false) as is_month_end,
        n_bars,
        is_missing
    from sessions
)

select * from final
