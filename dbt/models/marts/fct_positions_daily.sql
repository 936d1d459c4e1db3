with positions as (
    select * from {{ ref('stg_portfolio_management__positions') }}
    where {{ of_this_build('month') }}
),

instruments as (
    select * from {{ ref('stg_market_data__instruments') }}
),

symbols as (
    select * from {{ ref('int_instrument_symbols') }}
),

final as (
    select
        positions.instrument_id,
        positions.session,
        positions.month,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        positions.quantity,
        positions.price,
        positions.price_session,
        positions.stale_sessions,
        positions.is_stale,
        positions.market_value_minor,
        {{ from_minor('positions.market_value_minor') }} as market_value,
        positions.weight_percent,
        positions.cost_basis_minor,
        {{ from_minor('positions.cost_basis_minor') }} as cost_basis,
        positions.unrealised_minor,
        {{ from_minor('positions.unrealised_minor') }} as unrealised_pnl,
        positions.unrealised_minor / nullif(positions.cost_basis_minor, 0) * 100
            as unrealised_percent
    from positions
    left join instruments on positions.instrument_id = instruments.instrument_id
    asof left join symbols
        on positions.instrument_id = symbols.instrument_id
        and positions.session >= symbols.valid_from
)

select * from final
