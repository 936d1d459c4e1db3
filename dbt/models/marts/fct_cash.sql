-- The balance runs from the first entry; only then are the months of this build kept.
with entries as (
    select * from {{ ref('int_cash_balance') }}
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
        entries.cash_entry_id,
        entries.session,
        entries.month,
        entries.entry_number,
        entries.cause,
        entries.debit_account,
        entries.credit_account,
        entries.instrument_id,
        coalesce(symbols.symbol, instruments.first_symbol) as symbol,
        instruments.sector,
        entries.amount_minor,
        {{ from_minor('entries.amount_minor') }} as amount,
        entries.cash_change_minor,
        {{ from_minor('entries.cash_change_minor') }} as cash_change,
        cast(entries.balance_minor as bigint) as balance_minor,
        {{ from_minor('cast(entries.balance_minor as bigint)') }} as balance,
        entries.currency,
        entries.reference
    from entries
    left join instruments on entries.instrument_id = instruments.instrument_id
    asof left join symbols
        on entries.instrument_id = symbols.instrument_id
        and entries.session >= symbols.valid_from
)

select * from final
