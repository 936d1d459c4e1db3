"""One session with Bloomberg's reference data service through ``blpapi``: ask, and wait no longer.

The event loop, and which messages end a session or a request, are those of Bloomberg's core
developer guide. Everything is asked asynchronously: each wait has a bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

from contracts.errors import SourceError
from sources.market_data.errors import (
    VendorCredentialError,
    VendorQuotaError,
    VendorSessionError,
    VendorUnavailableError,
)

SERVICE = "//blp/refdata"
# Of one request, whatever the vendor sends: a year of daily bars is one, a day of minutes too.
MESSAGES_MAX = 10_000
_ENDED = ("SessionTerminated", "SessionConnectionDown", "SessionStartupFailure")
_RETRIED = ("TIMEOUT", "INTERNAL_ERROR", "TEMPORARY", "SERVER_ERROR")


class Server(NamedTuple):
    """Where the terminal or the server listens; ``app`` is who asks, None at a terminal."""

    host: str
    port: int
    app: str | None
    timeout_s: float


class BloombergSession:
    """An open session.

    Parameters
    ----------
    blpapi : ModuleType
        The library.
    session : object
        Its session, started, with the service opened.
    timeout_s : float
        The longest wait for a whole answer.
    hide : callable
        Takes credentials out of a text.
    """

    def __init__(
        self, blpapi: ModuleType, session: Any, timeout_s: float, hide: Callable[[str], str]
    ) -> None:
        self._blpapi, self._session, self._timeout_s, self._hide = blpapi, session, timeout_s, hide
        self._n_asked = 0

    def ask(self, kind: str, settings: Mapping[str, object]) -> list[dict[str, object]]:
        """Return the messages that answer a request, each as its type and content.

        Parameters
        ----------
        kind : str
            Of the request.
        settings : mapping of str to object
            Its elements; a list is appended one by one.

        Raises
        ------
        VendorUnavailableError
            When there is no whole answer in time.
        VendorQuotaError, VendorCredentialError
            When no other request would be answered either.
        VendorSessionError
            When the session has ended.
        SourceError
            When this request is refused.
        """
        blpapi = self._blpapi
        self._n_asked += 1
        number = blpapi.CorrelationId(self._n_asked)
        try:
            service = self._session.getService(SERVICE)
            request = service.createRequest(kind)
            for name, value in settings.items():
                for one in value if isinstance(value, list) else ():
                    request.append(blpapi.Name(name), one)
                if not isinstance(value, list):
                    request.set(blpapi.Name(name), value)
            self._session.sendRequest(request, correlationId=number)
            return self._messages(number)
        except blpapi.Exception as error:
            raise VendorSessionError(
                f"Bloomberg's library fails: {self._hide(str(error))}.", remedy="ask again later"
            ) from None

    def _messages(self, number: Any) -> list[dict[str, object]]:
        event_types, found = self._blpapi.Event, []
        for event in events(self._blpapi, self._session, self._timeout_s):
            kind = event.eventType()
            for message in event:
                self._require_session(str(message.messageType()), message)
                if all(one.value() != number.value() for one in message.correlationIds()):
                    # What a request that was given up says late.
                    continue
                if kind == event_types.REQUEST_STATUS:
                    raise self._refused(content_of(message.asElement()), "reason")
                if kind not in (event_types.PARTIAL_RESPONSE, event_types.RESPONSE):
                    continue
                content = content_of(message.asElement())
                if isinstance(content, dict) and "responseError" in content:
                    raise self._refused(content, "responseError")
                found.append({"type": str(message.messageType()), "content": content})
                if kind == event_types.RESPONSE:
                    return found
            if len(found) > MESSAGES_MAX:
                break
        self._session.cancel(number)
        raise VendorUnavailableError(
            f"Bloomberg gave no whole answer in {self._timeout_s:g} s.", remedy="ask again later"
        )

    def _require_session(self, kind: str, message: Any) -> None:
        if kind in _ENDED:
            raise VendorSessionError(
                f"Bloomberg's session has ended: {kind}: {self._said(message)}",
                remedy="see that the terminal or the server is up and logged in",
            )

    def _said(self, message: Any) -> str:
        return self._hide(str(content_of(message.asElement())))

    def _refused(self, content: object, name: str) -> SourceError:
        error = content.get(name) if isinstance(content, dict) else None
        return refusal_of(error if isinstance(error, dict) else {}, self._hide)


def refusal_of(error: Mapping[str, object], hide: Callable[[str], str]) -> SourceError:
    """Return the error that an ``errorInfo`` of Bloomberg's means."""
    category = str(error.get("category", ""))
    sub = str(error.get("subcategory") or "")
    words = str(error.get("message") or error.get("description") or "")
    said = hide(f"{category} {sub}: {words}")
    if category == "LIMIT" or "LIMIT" in sub or "CAPACITY" in sub:
        return VendorQuotaError(
            f"The account's data is used up: {said}", remedy="go on when the vendor renews it"
        )
    if category in _RETRIED:
        return VendorUnavailableError(
            f"Bloomberg does not answer now: {said}", remedy="ask again later"
        )
    if category in ("NO_AUTH", "NOT_ENTITLED") or sub == "NOT_ENTITLED":
        return SourceError(
            f"Bloomberg does not entitle this account: {said}", remedy="ask the vendor for it"
        )
    return SourceError(f"Bloomberg does not answer: {said}", remedy="check the security")


@contextmanager
def open_session(
    blpapi: ModuleType, server: Server, hide: Callable[[str], str]
) -> Iterator[BloombergSession]:
    """Start a session, open the service, and stop the session in all cases.

    Raises
    ------
    VendorCredentialError
        When Bloomberg does not know the application.
    VendorSessionError
        When the session does not start, or the service does not open, in time.
    """
    options = blpapi.SessionOptions()
    options.setServerHost(server.host)
    options.setServerPort(server.port)
    options.setNumStartAttempts(1)
    if server.app is not None:
        options.setSessionIdentityOptions(blpapi.AuthOptions.createWithApp(server.app))
    session = blpapi.Session(options)
    try:
        try:
            session.startAsync()
            _require(blpapi, session, server, "SessionStarted", hide)
            session.openServiceAsync(SERVICE)
            _require(blpapi, session, server, "ServiceOpened", hide)
        except blpapi.Exception as error:
            raise VendorSessionError(
                f"Bloomberg's library fails: {hide(str(error))}.", remedy="ask again later"
            ) from None
        yield BloombergSession(blpapi, session, server.timeout_s, hide)
    finally:
        session.stop()


def events(blpapi: ModuleType, session: Any, timeout_s: float) -> Iterator[Any]:
    """Yield a session's events until the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        # A wait of 0 ms would last for ever.
        event = session.nextEvent(max(1, int(left_s * 1_000)))
        if event.eventType() != blpapi.Event.TIMEOUT:
            yield event


def content_of(element: Any) -> object:
    """Return an element as dicts, lists and values; what is absent or null is None."""
    if element.isArray():
        return [
            content_of(value) if hasattr(value, "isComplexType") else value
            for value in element.values()
        ]
    if element.isComplexType():
        return {str(one.name()): content_of(one) for one in element.elements()}
    return None if element.isNull() else element.getValue()


def _require(
    blpapi: ModuleType, session: Any, server: Server, wanted: str, hide: Callable[[str], str]
) -> None:
    where = f"{server.host}:{server.port}"
    for event in events(blpapi, session, server.timeout_s):
        for message in event:
            kind = str(message.messageType())
            if kind == wanted:
                return
            said = hide(str(content_of(message.asElement())))
            if kind in ("AuthorizationFailure", "TokenGenerationFailure"):
                raise VendorCredentialError(
                    f"Bloomberg does not accept the application: {said}",
                    remedy="check the variable that `app_env` in sources.toml names",
                )
            if kind in (*_ENDED, "ServiceOpenFailure"):
                raise VendorSessionError(
                    f"Bloomberg at {where} opens no session: {kind}: {said}",
                    remedy="log in to the terminal there, or correct `host` and `port`",
                )
    raise VendorSessionError(
        f"Bloomberg at {where} says no {wanted} in {server.timeout_s:g} s.",
        remedy="log in to the terminal there, or correct `host` and `port`",
    )
