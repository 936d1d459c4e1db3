"""Detectors on worked examples, and on planted conduct that nobody tuned them on."""

import datetime as dt
import random

import msgspec
import pytest

from benchmarks.surveillance import TUNING_SEED, measure
from benchmarks.surveillance_cases import KINDS, planted_flow
from contracts.clock import NS_PER_S
from contracts.errors import ContractError
from domain.compliance.detectors.layering import LayeringParameters
from domain.compliance.order_flow import Account, OrderEvent, Print, Quote, flow_of
from domain.compliance.surveillance import SurveillanceParameters, surveil

OPEN_NS = 1_267_453_800 * NS_PER_S
CLOSE_NS = OPEN_NS + 23_400 * NS_PER_S
ACCOUNTS = (Account("A1", "alice"), Account("A2", "alice"), Account("B1", "bob"))
MID = 500_000
PARAMETERS = SurveillanceParameters()
# Neither the tuning seed nor one that the committed result is of.
SEEDS = (7, 8, 9)


def event(second, kind, order_id, side, qty, price=MID, account="A1", **more):
    return OrderEvent(
        event_id=more.pop("event_id", f"{order_id}-{kind}-{second}"), order_id=order_id,
        time_ns=OPEN_NS + int(second * NS_PER_S), kind=kind, account=account, trader="t",
        side=side, price_ticks=price, qty=qty, **more,
    )  # fmt: skip


def taken(second, order_id, side, qty, price=MID, account="A1"):
    return [
        event(second, "new", order_id, side, qty, price, account),
        event(second, "fill", order_id, side, qty, price, account, liquidity="removed"),
    ]


def quotes_of(path):
    """Quotes from (second, midpoint in ticks)."""
    return [Quote(OPEN_NS + int(s * NS_PER_S), mid - 100, mid + 100) for s, mid in path]


def flow(events, **more):
    return flow_of(
        instrument_id="US.T", session=dt.date(2010, 3, 1), open_ns=OPEN_NS, close_ns=CLOSE_NS,
        accounts=ACCOUNTS, events=events, **more,
    )  # fmt: skip


def judged(events, **more):
    return surveil([flow(events, **more)], PARAMETERS)


def only(found):
    (alert,) = found.alerts
    return alert, {measure.name: measure.value for measure in alert.measures}


def wash(delay=1.0, qty=300, price=MID, account="A2"):
    return [
        *taken(100, "w1", "buy", 300), *taken(100 + delay, "w2", "sell", qty, price, account),
        *taken(200, "w3", "buy", 300), *taken(200 + delay, "w4", "sell", qty, price, account),
    ]  # fmt: skip


def test_offsetting_executions_of_one_owner_are_a_wash():
    alert, numbers = only(judged(wash()))
    assert (alert.detector, alert.owner, alert.accounts) == ("wash_trades", "alice", ("A1", "A2"))
    assert numbers == {"offsetting_pairs": 2, "largest_pair_qty": 300, "matched_share": 100}
    assert alert.order_ids == ("w1", "w2", "w3", "w4")
    assert len(alert.fill_ids) == 4
    assert "5210" in alert.follows


@pytest.mark.parametrize(
    "innocent", [{"account": "B1"}, {"delay": 11}, {"qty": 200}, {"price": MID + 100}]
)
def test_what_does_not_offset_is_no_wash(innocent):
    assert judged(wash(**innocent)).alerts == ()


def test_one_pair_is_a_wash_only_when_it_is_large():
    assert judged(wash()[:4]).alerts == ()
    large = [*taken(100, "w1", "buy", 5_000), *taken(101, "w2", "sell", 5_000, account="A2")]
    assert only(judged(large))[0].detector == "wash_trades"


def test_a_wash_that_drowns_in_other_trading_is_none():
    other = [e for i in range(20) for e in taken(120 + 3 * i, f"o{i}", "buy", 300, MID + 9_000)]
    assert judged(wash() + other).alerts == ()


def layered(cancelled_after=1.0, shown=3, fill_qty=200, account="A1"):
    events = [
        event(10 + level, "new", f"l{level}", "sell", 400, MID + 100 * level)
        for level in range(shown)
    ]
    events += taken(20, "t", "buy", fill_qty, account=account)
    return events + [
        event(20 + cancelled_after, "cancel", f"l{level}", "sell", 400) for level in range(shown)
    ]


def test_orders_that_are_withdrawn_after_the_other_side_traded_are_layering():
    alert, numbers = only(judged(layered()))
    assert alert.detector == "layering"
    assert numbers == {
        "imbalance": 600, "shown_qty": 1_200, "withdrawn_share": 100, "price_levels": 3,
    }  # fmt: skip
    assert set(alert.order_ids) == {"l0", "l1", "l2", "t"}


def test_layering_across_accounts_of_one_owner_is_seen():
    assert only(judged(layered(account="A2")))[0].accounts == ("A1", "A2")
    assert judged(layered(account="B1")).alerts == ()


@pytest.mark.parametrize("innocent", [{"cancelled_after": 31}, {"shown": 1}, {"fill_qty": 600}])
def test_patient_or_balanced_orders_are_no_layering(innocent):
    assert judged(layered(**innocent)).alerts == ()


def test_a_requote_is_no_withdrawal():
    again = [event(22, "new", f"r{level}", "sell", 400, MID + 200) for level in range(3)]
    assert judged(layered() + again).alerts == ()


def test_what_the_owner_still_shows_on_the_traded_side_counts_for_it():
    resting = [event(5, "new", "q", "buy", 1_000, MID - 300)]
    assert judged(layered() + resting).alerts == ()


def test_shown_orders_that_traded_were_meant_to():
    done = [event(15, "fill", f"l{n}", "sell", 200, liquidity="added") for n in range(3)]
    assert all(a.detector != "layering" for a in judged(layered() + done).alerts)


def marked(qty=2_000, second=23_000, side="buy", **order):
    entered = order.pop("entered", second)
    return [
        event(entered, "new", "c", side, qty, None),
        event(second, "fill", "c", side, qty, MID + 1_000, liquidity="removed"),
    ]


def close_market(ours=2_000, last=MID + 1_000):
    """A tape with 8,000 shares of others in the last minutes, and the quotes before them."""
    tape = [(22_900, MID, 8_000), (23_000, MID + 1_000, ours), (23_399, last, 100)]
    return {
        "quotes": quotes_of([(0, MID)]),
        "tape": [Print(OPEN_NS + s * NS_PER_S, price, qty) for s, price, qty in tape],
    }


def test_late_one_sided_trading_that_moves_the_close_is_marking_it():
    alert, numbers = only(judged(marked(), **close_market()))
    assert alert.detector == "marking_the_close"
    assert numbers == {"volume_share": 19, "one_sided": 100, "price_move": 20, "traded": 2_000}


@pytest.mark.parametrize(
    ("events", "market"),
    [
        (marked(entered=20_000), close_market()),
        (marked(side="sell"), close_market()),
        (marked(), close_market(last=MID + 500)),
        (marked(qty=1_400), close_market(ours=1_400)),
        (marked(second=22_000), close_market()),
    ],
    ids=["entered early", "against the move", "no move", "small share", "not at the close"],
)
def test_a_normal_close_is_not_marked(events, market):
    assert judged(events, **market).alerts == ()


def ignition(reversed_qty=1_000, reverse_at=130, price=MID + 900):
    burst = [e for i in range(6) for e in taken(60 + i, f"b{i}", "buy", 200, MID + 100)]
    return burst + taken(reverse_at, "r", "sell", reversed_qty, price)


RISES = [(0, MID), (66, MID + 1_000), (400, MID + 1_000)]


def test_a_burst_that_is_sold_into_its_own_move_is_ignition():
    alert, numbers = only(judged(ignition(), quotes=quotes_of(RISES)))
    assert alert.detector == "momentum_ignition"
    assert numbers == {"burst_fills": 6, "burst_qty": 1_200, "price_move": 20, "reversed": 83}


@pytest.mark.parametrize(
    ("events", "path"),
    [
        (ignition(reversed_qty=300), RISES),
        (ignition(reverse_at=400), RISES),
        (ignition(), [(0, MID), (66, MID + 500)]),
        (ignition(price=MID - 100), RISES),
    ],
    ids=["trims", "late", "no move", "a loss"],
)
def test_a_burst_that_keeps_its_position_or_moves_nothing_is_none(events, path):
    assert judged(events, quotes=quotes_of(path)).alerts == ()


def test_a_flood_of_messages_is_judged_by_the_accounts_kind():
    flood = [
        e
        for i in range(150)
        for e in (
            event(10 + i, "new", f"m{i}", "buy", 100),
            event(10.5 + i, "cancel", f"m{i}", "buy", 100),
        )
    ]  # fmt: skip
    alert, numbers = only(judged([*flood, *taken(5_000, "t", "buy", 100)]))
    assert alert.detector == "order_to_trade"
    assert numbers == {"order_to_trade_ratio": 300, "messages": 301, "fills": 1}
    maker = flow_of(
        instrument_id="US.T", session=dt.date(2010, 3, 1), open_ns=OPEN_NS, close_ns=CLOSE_NS,
        accounts=[Account("A1", "alice", is_market_maker=True)], events=flood,
    )  # fmt: skip
    assert surveil([maker], PARAMETERS).alerts == ()


def test_what_cannot_be_judged_is_said():
    found = judged([*ignition(), *marked()])
    assert {(u.detector, u.reason) for u in found.unjudged} == {
        ("marking_the_close", "no quotes of the last minutes"),
        ("momentum_ignition", "no quotes: how far the price moved is not known"),
    }


def test_an_alert_keeps_its_id_when_more_of_the_conduct_or_other_parameters_come():
    first = only(judged(wash()))[0]
    longer = only(judged([*wash(), *taken(300, "w5", "buy", 300), *taken(301, "w6", "sell", 300)]))
    assert longer[0].alert_id == first.alert_id
    assert longer[0].fill_ids != first.fill_ids
    stricter = msgspec.structs.replace(
        PARAMETERS, layering=LayeringParameters(version="layering-2", lookback_ns=60 * NS_PER_S)
    )
    one, other = (surveil([flow(layered())], p).alerts[0] for p in (PARAMETERS, stricter))
    assert (one.alert_id, one.detector_version) == (other.alert_id, "layering-1")
    assert other.detector_version == "layering-2"


def test_the_order_of_arrival_does_not_matter():
    whole = next(
        f for f, ls in (planted_flow(1, n) for n in range(9)) if all(x.is_case for x in ls)
    )
    shuffled = list(whole.events)
    random.Random(5).shuffle(shuffled)  # noqa: S311 - a repeatable order
    again = flow_of(
        instrument_id=whole.instrument_id, session=whole.session, open_ns=whole.open_ns,
        close_ns=whole.close_ns, accounts=whole.accounts.values(), events=shuffled,
        quotes=whole.quotes, tape=whole.tape,
    )  # fmt: skip
    found = surveil([whole], PARAMETERS)
    assert found.alerts
    assert surveil([again], PARAMETERS) == found


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (event(1, "new", "o", "buy", 0), "quantity 0"),
        (event(1, "new", "o", "buy", 1, account="Z"), "unknown account 'Z'"),
        (event(1, "fill", "o", "buy", 1, None), "fill without a price"),
        (event(9, "new", "o", "buy", 1, event_id="w1-new-100"), "occurs twice"),
    ],
)
def test_a_broken_record_is_refused(bad, message):
    with pytest.raises(ContractError, match=message):
        flow([*wash(), bad])


@pytest.fixture(scope="module")
def table():
    return measure(SEEDS, 80, PARAMETERS).table()


# Lower bounds of recall over all intensities, recall of blatant cases, and precision. With forty
# cases a share is known to about 0.15: the committed result, of five hundred, is the measurement.
BOUNDS = {
    "wash_trades": (0.60, 0.90, 0.75),
    "layering": (0.50, 0.75, 0.75),
    "marking_the_close": (0.55, 0.80, 0.75),
    "momentum_ignition": (0.60, 0.90, 0.75),
    "order_to_trade": (0.85, 0.95, 0.90),
}


@pytest.mark.parametrize("kind", KINDS)
def test_recall_and_precision_on_planted_conduct(table, kind):
    assert TUNING_SEED not in SEEDS
    row, (recall, blatant, precision) = table[kind], BOUNDS[kind]
    assert row["cases"] >= 30
    assert row["recall"] >= recall, row
    assert row["recall_by_intensity"]["blatant"] >= blatant, row
    assert row["precision"] >= precision, row
    # A detector that says nothing would be precise, too.
    assert row["alerts"] >= row["cases"] * recall
