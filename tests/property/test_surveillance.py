"""Whatever flow comes: alerts rest on it, on nothing else, and not on the order it came in."""

import datetime as dt

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_S
from domain.compliance.order_flow import Account, OrderEvent, Print, Quote, flow_of
from domain.compliance.surveillance import SurveillanceParameters, surveil

OPEN_NS, LENGTH_S = 1_267_453_800 * NS_PER_S, 1_200
ACCOUNTS = (Account("A1", "alice"), Account("A2", "alice"), Account("B1", "bob"))
# Loose thresholds, so that small examples raise alerts at all.
LOOSE = SurveillanceParameters()
LOOSE = msgspec.structs.replace(
    LOOSE,
    wash_trades=msgspec.structs.replace(LOOSE.wash_trades, pairs_min=1),
    layering=msgspec.structs.replace(LOOSE.layering, imbalance_min_percent=100, shown_qty_min=1),
    momentum_ignition=msgspec.structs.replace(
        LOOSE.momentum_ignition, burst_fills_min=1, burst_qty_min=1, price_move_min_bps=0,
        reversal_min_percent=1,
    ),
    marking_the_close=msgspec.structs.replace(
        LOOSE.marking_the_close, qty_min=1, price_move_min_bps=0
    ),
    order_to_trade=msgspec.structs.replace(LOOSE.order_to_trade, ratio_max=2, messages_min=3),
)  # fmt: skip

STEPS = st.lists(
    st.tuples(
        st.integers(0, LENGTH_S),
        st.sampled_from(("new", "replace", "cancel", "fill")),
        st.integers(0, 5),
        st.sampled_from(ACCOUNTS),
        st.sampled_from(("buy", "sell")),
        st.sampled_from((499_900, 500_000, 500_100)),
        st.sampled_from((100, 200, 500)),
        st.sampled_from(("added", "removed", None)),
    ),
    max_size=25,
)


def events_of(steps):
    return [
        OrderEvent(
            event_id=f"e{number}", order_id=f"o{order}", time_ns=OPEN_NS + second * NS_PER_S,
            kind=kind, account=account.account, trader="t", side=side, price_ticks=price, qty=qty,
            liquidity=liquidity,
        )
        for number, (second, kind, order, account, side, price, qty, liquidity) in enumerate(steps)
    ]  # fmt: skip


def judged(events, *, has_market):
    quotes = [Quote(OPEN_NS, 499_900, 500_100), Quote(OPEN_NS + 600 * NS_PER_S, 500_000, 500_200)]
    tape = [Print(OPEN_NS + LENGTH_S * NS_PER_S, 500_100, 100)]
    flow = flow_of(
        instrument_id="US.T", session=dt.date(2010, 3, 1), open_ns=OPEN_NS,
        close_ns=OPEN_NS + LENGTH_S * NS_PER_S, accounts=ACCOUNTS, events=events,
        quotes=quotes if has_market else None, tape=tape if has_market else None,
    )  # fmt: skip
    return surveil([flow], LOOSE)


@given(STEPS, st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_alerts_rest_on_the_flow_and_on_nothing_else(steps, has_market, random):
    events = events_of(steps)
    found = judged(events, has_market=has_market)
    owners = {account.account: account.owner for account in ACCOUNTS}
    for alert in found.alerts:
        mine = [event for event in events if owners[event.account] == alert.owner]
        assert set(alert.order_ids) <= {event.order_id for event in mine}
        fills = {event.event_id for event in mine if event.kind == "fill"}
        assert set(alert.fill_ids) <= fills
        assert alert.n_orders == len(alert.order_ids) > 0
        assert alert.start_ns <= alert.end_ns
        assert alert.measures
    ids = [alert.alert_id for alert in found.alerts]
    assert len(ids) == len(set(ids))
    assert not (has_market and found.unjudged)
    random.shuffle(events)
    assert judged(events, has_market=has_market) == found
