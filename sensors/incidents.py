"""Opening an incident: a row in the operations store, a log line, and a call to a webhook."""

from __future__ import annotations

import re

import httpx
import stamina
import structlog

from contracts.clock import utc_datetime
from ops_store.connection import password_of
from ops_store.feedback import incident_id_of
from ops_store.records import Incident
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings

WEBHOOK_ATTEMPTS_MAX = 3
WEBHOOK_TIMEOUT_S = 5.0
# All attempts together stay well under the minute that a sensor's tick may take.
WEBHOOK_TOTAL_S = 20.0
# user:password@ of a URL, as database drivers like to quote it.
_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]+@")
_HIDDEN = "***"

log = structlog.get_logger()


def open_incident(settings: Settings, *, kind: str, subject: str, detail: str) -> Incident:
    """Open an incident and tell of it once; what was opened before is only returned.

    Parameters
    ----------
    kind : str
        In one word of lower case, as the runbooks name it.
    subject : str
        What it is about: a run, a file.
    detail : str
        What happened and what to do. Credentials of the environment are struck out.
    """
    subject, detail = redacted(subject, settings), redacted(detail, settings)
    with incident_store(settings) as store:
        known = store.find_incident(incident_id_of(kind=kind, subject=subject, detail=detail))
        if known is not None:
            return known
        incident = store.open_incident(kind=kind, subject=subject, detail=detail)
    log.error(
        "incident_opened", incident_id=incident.incident_id, kind=kind, subject=subject,
        detail=detail,
    )  # fmt: skip
    _call_webhook(settings, incident)
    return incident


def redacted(text: str, settings: Settings) -> str:
    """Return a text without the passwords of any URL and without the webhook's address."""
    secrets = [settings.webhook] if settings.webhook else []
    password = password_of(settings.ops_url)
    secrets += [password] if password else []
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return _CREDENTIALS.sub(rf"\1{_HIDDEN}@", text)


def payload_of(settings: Settings, incident: Incident) -> dict[str, str]:
    """Return what a webhook is sent. ``text`` is what chat services show."""
    opened = utc_datetime(incident.opened_ns)
    return {
        "event": "incident_opened",
        "incident_id": incident.incident_id,
        "kind": incident.kind,
        "subject": incident.subject,
        "detail": incident.detail,
        "opened": opened.isoformat(),
        "book": settings.book,
        "mode": settings.mode if settings.go_live_session else "backtest",
        "text": f"{incident.kind}: {incident.subject}",
    }


def _call_webhook(settings: Settings, incident: Incident) -> None:
    if settings.webhook is None:
        return
    try:
        _post(settings, payload_of(settings, incident))
    except (httpx.HTTPError, httpx.InvalidURL, WebhookRefusedError) as error:
        # The incident is in the store and in the log: a deaf webhook must not stop the sensor.
        log.error(  # noqa: TRY400 - a traceback would quote the address
            "incident_webhook_failed", incident_id=incident.incident_id,
            reason=redacted(f"{type(error).__name__}: {error}", settings),
        )  # fmt: skip


class WebhookRefusedError(Exception):
    """The webhook answered with a status that is no success. Unlike httpx's, it quotes no URL."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answered {status}")
        self.status = status


def _worth_retrying(error: Exception) -> bool:
    if isinstance(error, WebhookRefusedError):
        return error.status >= 500 or error.status == 429
    return isinstance(error, httpx.TransportError)


# Retries are logged with their arguments: the settings hide the address, a plain URL would not.
@stamina.retry(
    on=_worth_retrying, attempts=WEBHOOK_ATTEMPTS_MAX, timeout=WEBHOOK_TOTAL_S,
    wait_initial=0.2, wait_max=2.0,
)  # fmt: skip
def _post(settings: Settings, payload: dict[str, str]) -> None:
    answer = httpx.post(str(settings.webhook), json=payload, timeout=WEBHOOK_TIMEOUT_S)
    if not answer.is_success:
        raise WebhookRefusedError(answer.status_code)
