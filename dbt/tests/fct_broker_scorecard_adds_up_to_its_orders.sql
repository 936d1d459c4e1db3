-- A month's scorecards have every order, share and cent of the month's orders, by broker.
with orders as (
    select
        month,
        broker,
        count(*) as n_orders,
        sum(filled_quantity) as filled_shares,
        sum(filled_minor) as traded_minor,
        coalesce(sum(shortfall_minor), 0) as shortfall_minor
    from {{ ref('fct_execution_quality') }}
    group by month, broker
),

scorecard as (
    select * from {{ ref('fct_broker_scorecard') }}
),

final as (
    select
        coalesce(orders.month, scorecard.month) as month,
        coalesce(orders.broker, scorecard.broker) as broker
    from orders
    full outer join scorecard
        on orders.month = scorecard.month and orders.broker = scorecard.broker
    where
        orders.n_orders is distinct from scorecard.n_orders
        or orders.filled_shares is distinct from scorecard.filled_shares
        or orders.traded_minor is distinct from scorecard.traded_minor
        or orders.shortfall_minor is distinct from scorecard.shortfall_minor
)

select * from final
