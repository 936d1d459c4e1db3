{{ config(materialized='table') }}

with instruments as (
    select * from {{ ref('stg_market_data__instruments') }}
),

activity as (
    select * from {{ ref('int_instrument_activity') }}
),

symbols as (
    select
        instrument_id,
        arg_max(symbol, valid_from) as symbol,
        string_agg(symbol, ' > ' order by valid_from) as symbols
    from {{ ref('int_instrument_symbols') }}
    group by instrument_id
),

final as (
    select
        instruments.instrument_id,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        coalesce(symbols.symbols, instruments.first_symbol) as symbols,
        instruments.instrument_name,
        instruments.sector,
        instruments.industry,
        instruments.mic,
        instruments.currency,
        activity.first_session,
        activity.last_session,
        coalesce(activity.n_bars, 0) as n_bars,
        -- Against the newest session with data: a session without a file ends nobody.
        coalesce(activity.last_session < max(activity.last_session) over (), true) as has_ended
    from instruments
    left join activity on instruments.instrument_id = activity.instrument_id
    left join symbols on instruments.instrument_id = symbols.instrument_id
)

select * from final
