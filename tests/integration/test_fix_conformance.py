"""QuickFIX's session acceptance scripts against the paper venue's process, read where they lie."""

from pathlib import Path

import pytest

from benchmarks.fix_conformance import (
    Deviation,
    Known,
    Run,
    known_deviations,
    own_venue,
    run_own,
    scripts_of,
    unexplained,
)
from execution.loopback import wait_until
from execution.venue.control import VenueClient

SCRIPTS = Path(__file__).parents[3] / "shared/data/fix/quickfix_definitions/server/fix44"
# These wait for heartbeats of 6 s, and for the line to be dropped.
WAITING = ("4a_", "6_")
needs_scripts = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not SCRIPTS.exists(), reason=f"no acceptance scripts at {SCRIPTS}"),
]


def split() -> tuple[list[Path], list[Path]]:
    scripts = scripts_of(SCRIPTS)
    waiting = [path for path in scripts if path.name.startswith(WAITING)]
    return [path for path in scripts if path not in waiting], waiting


class TestScripts:
    pytestmark = needs_scripts

    def test_every_deviation_is_in_the_table_and_every_entry_is_one(self, tmp_path: Path) -> None:
        quick, _ = split()
        assert len(quick) == 57
        found = run_own(quick, tmp_path, workers=2)
        assert unexplained(found, known_deviations()) == []

    @pytest.mark.slow
    def test_heartbeats_and_test_requests_come_as_written(self, tmp_path: Path) -> None:
        _, waiting = split()
        assert len(waiting) == 2
        assert run_own(waiting, tmp_path, workers=2) == []


def test_the_runner_tells_what_differs(tmp_path: Path) -> None:
    logon = "I8=FIX.4.4|35=A|34=1|49=TW44|52=<TIME>|56=ISLD|98=0|108=30|\n"
    answer = "E8=FIX.4.4|9=1|35=A|34=1|49=ISLD|52=00000000-00:00:00|56=TW44|98=0|108=30|10=0|\n"
    leave = "I8=FIX.4.4|35=5|34=2|49=TW44|52=<TIME>|56=ISLD|\n"
    gone = "E8=FIX.4.4|9=1|35=5|34=2|49=ISLD|52=00000000-00:00:00|56=TW44|10=0|\neDISCONNECT\n"
    scripts = {
        "right": "iCONNECT\n" + logon + answer + leave + gone,
        "wrong_field": "iCONNECT\n" + logon + answer.replace("108=30", "108=31"),
        "wrong_type": "iCONNECT\n" + logon + answer.replace("35=A", "35=0"),
        "no_end": "iCONNECT\n" + logon + "eDISCONNECT\n",
        "stale": "iCONNECT\n" + logon.replace("<TIME>", "<TIME-121>") + answer,
    }
    observed = {}
    with own_venue(tmp_path / "venue") as port:
        for name, text in scripts.items():
            path = tmp_path / f"{name}.def"
            path.write_text("# a script of ours\n" + text.replace("|", "\x01"))
            found = Run("127.0.0.1", port).play(path)
            observed[name] = (found.line, found.observed) if found else None
            # Each ends with the connection; the venue notices at once.
            _wait_logged_out(tmp_path / "venue")
    assert observed["right"] is None
    assert observed["wrong_field"] == (4, "instead of [108=31] [108=30]")
    assert observed["wrong_type"] == (4, "instead of 35=0 35=A")
    assert observed["no_end"] is not None
    assert observed["no_end"][1].startswith("WireError: a message came instead of the end")
    assert observed["stale"] is not None


def test_a_new_deviation_and_one_that_is_gone_both_fail() -> None:
    known = [Known("a", 1, "x", "because"), Known("b", 2, "y", "because")]
    found = [Deviation("a", 1, "x"), Deviation("c", 3, "z")]
    assert unexplained(found, known) == ["not listed: c:3: z", "gone: b:2: y"]


def test_the_table_says_why() -> None:
    rows = known_deviations()
    assert rows
    assert all(len(row.why.strip()) > 40 for row in rows)


def _wait_logged_out(state_dir: Path) -> None:
    client = VenueClient(state_dir)
    wait_until("logged out", lambda: not client.status()["is_logged_on"], 10.0)
