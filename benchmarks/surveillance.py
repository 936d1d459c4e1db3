"""Recall and precision of surveillance on planted conduct.

``.venv/bin/python -m benchmarks.surveillance``. The thresholds were chosen on ``TUNING_SEED``; the
figures are of ``MEASURED_SEEDS``, which nobody tuned on. A case is found when an alert of its kind
names its owner in its session; every other alert counts against precision, whether it is of a
planted look-alike, of another kind than planted, or of the background.
"""

from __future__ import annotations

import collections
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.surveillance_cases import KINDS, LOOK_ALIKES, Label, planted_flow
from domain.compliance.alerts import Alert
from domain.compliance.surveillance import SurveillanceParameters, surveil

TUNING_SEED = 1
TUNING_FLOWS = 300
MEASURED_SEEDS = (101, 102, 103, 104, 105)
FLOWS_PER_SEED = 100
INTENSITIES = {"faint": (0.0, 1 / 3), "middling": (1 / 3, 2 / 3), "blatant": (2 / 3, 1.01)}
RESULTS = Path(__file__).with_name("results") / "surveillance.json"


class Measured:
    """Planted conduct and the alerts on it, of some seeds."""

    def __init__(self) -> None:
        self.labels: list[Label] = []
        self.hits: list[tuple[Alert, Label | None]] = []
        self.found: set[Label] = set()
        self.n_events = 0
        self.detection_s = 0.0

    def add(self, seed: int, number: int, parameters: SurveillanceParameters) -> None:
        """Judge one flow."""
        flow, labels = planted_flow(seed, number)
        # One instrument per flow and seed: a seed's name keeps those of different seeds apart.
        labels = [one._replace(instrument_id=f"{seed}/{one.instrument_id}") for one in labels]
        started = time.perf_counter()
        alerts = surveil([flow], parameters).alerts
        self.detection_s += time.perf_counter() - started
        self.n_events += len(flow.events)
        self.labels += labels
        for alert in alerts:
            label = next(
                (one for one in labels if (one.kind, one.owner) == (alert.detector, alert.owner)),
                None,
            )
            self.hits.append((alert, label))
            if label is not None and label.is_case:
                self.found.add(label)

    def table(self) -> dict[str, Any]:
        """Return recall and precision by detector."""
        return {kind: self._of(kind) for kind in KINDS}

    def _of(self, kind: str) -> dict[str, Any]:
        cases = [one for one in self.labels if one.kind == kind and one.is_case]
        hits = [label for alert, label in self.hits if alert.detector == kind]
        true = sum(label is not None and label.is_case for label in hits)
        fooled = collections.Counter(
            label.look_alike for label in hits if label is not None and not label.is_case
        )
        planted = collections.Counter(
            one.look_alike for one in self.labels if one.kind == kind and not one.is_case
        )
        return {
            "cases": len(cases),
            "recall": _share(self.found, cases),
            "recall_by_intensity": {
                name: _share(self.found, [c for c in cases if low <= c.intensity < high])
                for name, (low, high) in INTENSITIES.items()
            },
            "alerts": len(hits),
            "precision": round(true / len(hits), 3) if hits else None,
            "false_alerts": {
                "look_alikes": {
                    name: f"{fooled[name]} of {planted[name]}" for name in LOOK_ALIKES[kind]
                },
                "background": sum(label is None for label in hits),
            },
        }


def _share(found: set[Label], cases: Sequence[Label]) -> float | None:
    return round(sum(case in found for case in cases) / len(cases), 3) if cases else None


def measure(
    seeds: Iterable[int], flows_per_seed: int, parameters: SurveillanceParameters
) -> Measured:
    """Judge every flow of the seeds."""
    measured = Measured()
    for seed in seeds:
        for number in range(flows_per_seed):
            measured.add(seed, number, parameters)
    return measured


def main() -> None:
    """Measure, print and keep the table."""
    parameters = SurveillanceParameters()
    tuned = measure([TUNING_SEED], TUNING_FLOWS, parameters)
    measured = measure(MEASURED_SEEDS, FLOWS_PER_SEED, parameters)
    result = {
        "tuning_seed": TUNING_SEED,
        "tuning_flows": TUNING_FLOWS,
        "measured_seeds": list(MEASURED_SEEDS),
        "flows_per_seed": FLOWS_PER_SEED,
        "events": measured.n_events,
        "detectors": measured.table(),
        "on_the_tuning_seed": {
            kind: {name: row[name] for name in ("cases", "recall", "alerts", "precision")}
            for kind, row in tuned.table().items()
        },
        "events_per_s": round(measured.n_events / measured.detection_s),
        "parameters": {
            kind: {f: getattr(one, f) for f in one.__struct_fields__}
            for kind in KINDS
            for one in [getattr(parameters, kind)]
        },
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
    }
    text = json.dumps(result, indent=2) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
