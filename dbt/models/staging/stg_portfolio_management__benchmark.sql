with source as (
    select * from {{ source('portfolio_management', 'benchmark') }}
),

final as (
    select
        session,
        month,
        level as benchmark_level,
        daily_return * 100 as benchmark_return_percent,
        n_members as n_benchmark_members
    from source
)

select * from final
