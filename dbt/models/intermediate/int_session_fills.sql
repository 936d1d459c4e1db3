with fills as (
    select * from {{ ref('stg_trade_execution__trades') }}
),

final as (
    select
        session,
        count(*) as n_fills,
        count(*) filter (where fill_source = 'fix') as n_fix_fills
    from fills
    group by session
)

select * from final
