"""What the sensors of arriving files share: how they are declared, and what they remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import dagster as dg
import msgspec

from orchestration.jobs import DAILY, RESTATE

INTERVAL_S = 30
# A file whose last change is younger than this may still be being written.
SETTLED_S = 5.0
WAITING = "A file is being written: the next tick looks again."
CHANGED = "A file changed while it was read."

Cursor = TypeVar("Cursor", bound=msgspec.Struct)
Tick = Callable[[dg.SensorEvaluationContext], dg.SensorResult | dg.SkipReason]


def arrival_sensor(name: str, description: str) -> Callable[[Tick], dg.SensorDefinition]:
    """Return the decorator of a sensor that asks for the runs that take files in."""
    return dg.sensor(
        name=name,
        jobs=[DAILY, RESTATE],
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )


def read_cursor(context: dg.SensorEvaluationContext, kind: type[Cursor]) -> Cursor:
    """Return what the sensor remembers, nothing before its first tick."""
    return msgspec.json.decode(context.cursor or "{}", type=kind)


def cursor_text(cursor: msgspec.Struct) -> str:
    """Return what Dagster keeps until the next tick."""
    return msgspec.json.encode(cursor).decode()


def skip(reason: str, cursor: msgspec.Struct, **changes: Any) -> dg.SensorResult:
    """Return that no run starts and why, remembering what has changed."""
    return dg.SensorResult(
        skip_reason=reason, cursor=cursor_text(msgspec.structs.replace(cursor, **changes))
    )
