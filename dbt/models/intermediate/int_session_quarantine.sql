{#- A line whose date cannot be read belongs to no session: it is counted on its month's first. -#}
with quarantine as (
    select * from {{ ref('stg_market_data__quarantine') }}
),

sessions as (
    select * from {{ ref('int_sessions') }}
),

months as (
    select
        month,
        min(session) as first_session
    from sessions
    group by month
),

dated as (
    select
        coalesce(sessions.session, months.first_session) as session,
        quarantine.reason
    from quarantine
    left join sessions on quarantine.session = sessions.session
    left join months on quarantine.month = months.month
),

final as (
    select
        session,
        count(*) as n_quarantined,
        {%- for reason in quarantine_reasons() %}
        count(*) filter (where reason = '{{ reason }}') as n_{{ reason }}{{ ',' if not loop.last }}
        {%- endfor %}
    from dated
    group by session
)

select * from final
