"""Market data over FIX from the real paper venue: snapshot, changes in sequence, refusals."""

import datetime as dt
import threading

import pytest

from execution.processes import free_port, start_venue
from execution.venue.config import VenueConfig
from execution.venue.control import VenueClient
from execution.venue.market import Liquidity, write_session
from sources.file_drops import RawDrop
from sources.market_data.errors import VendorUnavailableError
from sources.market_data.fix_market_data import FixMarketData
from sources.market_data.protocol import Refusal, Window
from tests.integration.execution_harness import HEADER, bars

WINDOW = Window(dt.date(2010, 8, 20), dt.date(2010, 8, 20))
STEPS = 6


@pytest.fixture
def venue(tmp_path):
    path, port = tmp_path / "bars.jsonl", free_port()
    write_session(path, HEADER, bars())
    config = VenueConfig(
        state_dir=str(tmp_path / "venue"), fix_port=port, bars=str(path),
        market_data_comp_id="READER", liquidity=Liquidity(steps=STEPS),
    )  # fmt: skip
    child = start_venue(config)
    client = VenueClient(tmp_path / "venue")
    client.wait_listening()
    yield client, port
    child.kill()


def source(port, **changes):
    told = {"sender_comp_id": "READER", "target_comp_id": "VENUE", "listen_s": 3.0, **changes}
    return FixMarketData(host="127.0.0.1", port=port, **told).open("venue", {})


def test_a_session_of_the_venue_is_recorded_and_becomes_depth(venue):
    client, port = venue
    client.open()
    client.step()
    steps = threading.Timer(1.5, lambda: [client.step() for _ in range(STEPS - 1)])
    steps.start()
    found = list(source(port).fetch(WINDOW, ["AAPL", "IBM", "NONE"]))
    steps.join()
    (drop,) = (one for one in found if isinstance(one, RawDrop))
    (refused,) = (one for one in found if isinstance(one, Refusal))
    assert (refused.name, "one known symbol" in refused.reason) == ("NONE", True)
    assert drop.data.count(b"\x0135=W\x01") == 2
    assert drop.data.count(b"\x0135=X\x01") >= 2 * (STEPS - 1)
    depth, quotes = source(port).read_session(drop, {})
    assert depth.quarantine["reason"].to_list() == ["refused_by_venue"]
    assert set(depth.rows["symbol"]) == {"AAPL", "IBM"}
    assert set(depth.rows["session"]) == {WINDOW.first}
    best = depth.rows.filter(level=1)
    assert (best["bid_price"] < best["ask_price"]).all()
    # A snapshot and each step's changes: the replay's own instants, not the wall clock's.
    assert best.filter(symbol="AAPL")["time_ns"].n_unique() == STEPS
    assert best["time_ns"].max() == HEADER.close_ns
    assert quotes.rows.height == best.height
    # Three levels a side, as market makers quote; whoever asks afterwards is told the same.
    (again,) = source(port, listen_s=1.0).fetch(WINDOW, ["AAPL"])
    anew, _ = source(port).read_session(again, {})
    last = depth.rows.filter(symbol="AAPL", time_ns=HEADER.close_ns)
    columns = ("level", "bid_price", "bid_size", "ask_price", "ask_size")
    assert anew.rows.select(columns).equals(last.select(columns))
    assert last.height == 3


def test_who_is_not_known_is_not_let_in(venue):
    _, port = venue
    stranger = source(port, sender_comp_id="STRANGER", timeout_s=1.0)
    with pytest.raises(VendorUnavailableError, match="let nobody log on"):
        list(stranger.fetch(WINDOW, ["AAPL"]))
