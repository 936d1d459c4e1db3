"""An id says what an event is and what it rests on, and nothing else."""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import Envelope, event_id
from domain.identity import with_event_ids, with_history_digest

ROOT = Path(__file__).parents[2]
FIRST = dt.date(2010, 1, 4)
NAMING = {
    "event_type": "TradingSignalEvent", "key": "instrument_id", "payload": ["side", "strength"],
    "inputs": ["evaluation_id", "news_id"], "logic_version": "signals-1", "policy_hash": "p",
}  # fmt: skip

texts = st.text("abcdef0123456789", min_size=1, max_size=6)
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
row = st.tuples(
    st.sampled_from(["US.A", "US.B", "US.C"]), st.integers(0, 20),
    st.sampled_from(["long", "short"]), floats, texts, st.none() | texts,
)  # fmt: skip
rows = st.lists(row, min_size=1, max_size=12, unique_by=lambda r: (r[0], r[1]))


def frame_of(found):
    return pl.DataFrame(
        [(name, FIRST + dt.timedelta(days=day), *rest) for name, day, *rest in found],
        schema={
            "instrument_id": pl.String, "session": pl.Date, "side": pl.String,
            "strength": pl.Float64, "evaluation_id": pl.String, "news_id": pl.String,
        },
        orient="row",
    )  # fmt: skip


def ids_of(frame, **changes):
    named = with_event_ids(frame, **NAMING | changes)
    return {(n, s): i for n, s, i in named.select("instrument_id", "session", "event_id").rows()}


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_count(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert ids_of(frame_of(shuffled)) == ids_of(frame_of(found))


@given(rows)
def test_other_rows_do_not_count(found):
    whole = ids_of(frame_of(found))
    for single in found:
        ((place, identity),) = ids_of(frame_of([single])).items()
        assert whole[place] == identity


@given(rows)
def test_what_is_no_payload_does_not_count(found):
    frame = frame_of(found)
    carried = frame.with_columns(
        pl.lit("run-7").alias("run_id"), pl.lit("live").alias("mode"),
        pl.lit("2010-01-01").alias("month"),
    )  # fmt: skip
    assert ids_of(carried) == ids_of(frame)


@pytest.mark.parametrize("field", ["mode", "run_id", "partition", "event_time_ns"])
def test_the_id_knows_nothing_of_the_envelope(field):
    assert field in Envelope.__struct_fields__
    with pytest.raises(TypeError):
        event_id(
            event_type="T", key="k", session="2010-01-04", round_number=0, payload=(),
            input_digests=[], policy_hash="p", logic_version="1", **{field: "x"},
        )  # fmt: skip


@given(row, st.sampled_from([0, 1, 2, 3, 4, 5]), row)
def test_a_changed_field_changes_the_id(found, position, other):
    changed = tuple(other[i] if i == position else value for i, value in enumerate(found))
    before, after = (set(ids_of(frame_of([r])).values()) for r in (found, changed))
    # Inputs are a set: naming an evaluation twice is naming it once.
    said = [(*r[:4], frozenset(filter(None, r[4:]))) for r in (found, changed)]
    # 0.0 and -0.0 are different bits and may be different ids; equal rows never are.
    if found == changed and repr(found) == repr(changed):
        assert before == after
    elif said[0] != said[1]:
        assert before.isdisjoint(after)


@given(row, st.sampled_from(["event_type", "logic_version", "policy_hash"]))
def test_another_type_logic_or_policy_is_another_id(found, name):
    frame = frame_of([found])
    assert not set(ids_of(frame).values()) & set(ids_of(frame, **{name: "another"}).values())


PROGRAM = """
import json, polars as pl
from domain.identity import with_event_ids, with_history_digest
frame = pl.DataFrame(
    {"instrument_id": ["US.A", "US.A", "US.B"],
     "session": ["2010-01-04", "2010-01-05", "2010-01-04"],
     "weights": ['{"x":1}', "", "b"], "close": [10.1, 0.1 + 0.2, 1e-9], "bar_id": ["1", None, "2"],
     "raw": ["f"] * 3},
).with_columns(pl.col("session").str.to_date())
named = with_event_ids(frame, event_type="T", key="instrument_id", payload=["weights", "close"],
                       inputs=["bar_id", "raw"], logic_version="1")
print(json.dumps(with_history_digest(named, ["event_id", "close"])
                 .select("event_id", "history_digest").rows()))
"""


def test_any_process_gives_the_same_id():
    printed = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=os.environ | {"PYTHONHASHSEED": seed}, cwd=ROOT,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        printed.add(done.stdout)
    assert len(printed) == 1
    found = json.loads(printed.pop())
    assert all(len(text) == 64 for pair in found for text in pair)
    assert len({text for pair in found for text in pair}) == 6


bars = st.lists(st.tuples(texts, floats.map(abs).filter(bool)), min_size=1, max_size=8)
histories = st.dictionaries(st.sampled_from(["US.A", "US.B", "US.C"]), bars, min_size=1)


def digests_of(history, columns=("event_id", "factor")):
    found = [
        (name, FIRST + dt.timedelta(days=day), *values)
        for name in sorted(history)
        for day, values in enumerate(history[name])
    ]
    frame = pl.DataFrame(
        found, schema=["instrument_id", "session", "event_id", "factor"], orient="row"
    )
    digested = with_history_digest(frame, columns)
    return {
        (name, (session - FIRST).days): digest
        for name, session, digest in digested.select(
            "instrument_id", "session", "history_digest"
        ).rows()
    }


@given(histories, st.data())
def test_a_history_digest_changes_where_something_before_it_did(history, data):
    name = data.draw(st.sampled_from(sorted(history)))
    day = data.draw(st.integers(0, len(history[name]) - 1))
    replaced = data.draw(bars.map(lambda b: b[0]).filter(lambda b: b != history[name][day]))
    changed = history | {name: [*history[name][:day], replaced, *history[name][day + 1 :]]}
    before, after = digests_of(history), digests_of(changed)
    differing = {place for place in before if before[place] != after[place]}
    assert differing == {place for place in before if place[0] == name and place[1] >= day}


@given(histories)
def test_a_digest_does_not_know_what_comes_after_it_or_beside_it(history):
    whole = digests_of(history)
    for name, series in history.items():
        for length in range(1, len(series) + 1):
            for place, digest in digests_of({name: series[:length]}).items():
                assert whole[place] == digest


@given(histories)
def test_a_column_that_does_not_count_does_not_count(history):
    other = {name: [(i, f + 1.0) for i, f in series] for name, series in history.items()}
    assert digests_of(history, ["event_id"]) == digests_of(other, ["event_id"])
