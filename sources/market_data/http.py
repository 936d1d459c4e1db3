"""One careful HTTP client for every vendor: limits on all that a vendor, or a thief, could send.

Only hosts on the list are asked, whatever a redirect says. A key never leaves in a message: it is
replaced in errors, and in what httpx logs of a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Annotated
from urllib.parse import quote_plus

import httpx
import msgspec
import stamina

from contracts.errors import ConfigurationError, SourceError
from sources.market_data.errors import VendorCredentialError, VendorUnavailableError

REDIRECTS_MAX = 3
HIDDEN = "<key>"
# A filter does not hear of the loggers below its own.
_LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "proxy", "socks")))
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SEND_AGAIN = "ask again later, and the vendor if it stays so"
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3_600)]


class HttpLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a vendor is asked.

    ``timeout_s`` bounds each wait for bytes, ``total_s`` a whole answer, ``wait_s_max`` what a
    vendor may make us wait before asking again.
    """

    hosts: tuple[str, ...] = ()
    requests_per_minute: Annotated[float, msgspec.Meta(gt=0)] = 5
    attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 4
    timeout_s: Seconds = 10
    total_s: Seconds = 120
    wait_s_max: Seconds = 120
    bytes_max: Annotated[int, msgspec.Meta(ge=1)] = 100_000_000


class HttpClient:
    """Asks one vendor, at its pace.

    Parameters
    ----------
    url : str
        Of the vendor's interface; https, except on this machine.
    limits : HttpLimits
        See there.
    secret : str
        The key, which is never shown.
    sleep : callable
        Waits so many seconds for the rate limit.
    """

    def __init__(
        self,
        url: str,
        limits: HttpLimits,
        secret: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limits, self._secret, self._sleep = limits, secret, sleep
        try:
            self.url = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigurationError(
                f"`url` is no address: {error}.", remedy="correct it in sources.toml"
            ) from None
        self._next_s = 0.0
        self._require_allowed(self.url, ConfigurationError)

    def get(self, parameters: Mapping[str, str], inspect: Callable[[bytes], None]) -> bytes:
        """Return the body that answers a question, asking again when that may help.

        Parameters
        ----------
        parameters : mapping of str to str
            Of the query.
        inspect : callable
            Raises for a body that is no answer; for ``VendorUnavailableError`` it is asked again.

        Raises
        ------
        VendorUnavailableError
            When the last attempt had no whole answer either.
        VendorCredentialError
            For HTTP 401 and 403.
        SourceError
            For another status, another host, or a body over the limit.
        """
        for attempt in stamina.retry_context(
            on=self._wait, attempts=self.limits.attempts, timeout=None, wait_initial=1,
            wait_max=self.limits.wait_s_max,
        ):  # fmt: skip
            with attempt, _redacted_logs(self.hide):
                body = self._once(parameters)
                inspect(body)
        return body

    def hide(self, text: str) -> str:
        """Return a text without the key, which vendors like to repeat."""
        if not self._secret:
            return text
        for shown in {self._secret, quote_plus(self._secret)}:
            text = text.replace(shown, HIDDEN)
        return text

    def _wait(self, error: Exception) -> bool | float:
        if not isinstance(error, VendorUnavailableError):
            return False
        wait_s = error.wait_s
        return True if wait_s is None else wait_s <= self.limits.wait_s_max and wait_s

    def _once(self, parameters: Mapping[str, str]) -> bytes:
        self._keep_pace()
        limits = self.limits
        deadline_s = time.monotonic() + limits.total_s
        url = self.url.copy_merge_params(dict(parameters))
        try:
            with httpx.Client(timeout=limits.timeout_s, follow_redirects=False) as client:
                for _ in range(REDIRECTS_MAX + 1):
                    with client.stream("GET", url) as answer:
                        if answer.has_redirect_location:
                            url = answer.next_request.url if answer.next_request else url
                            self._require_allowed(url, SourceError)
                            continue
                        self._require_success(answer)
                        return self._body(answer, deadline_s)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise VendorUnavailableError(
                f"{self.url.host} gave no whole answer: {type(error).__name__}: "
                f"{self.hide(str(error))}.",
                remedy=_SEND_AGAIN,
            ) from None
        except httpx.InvalidURL as error:
            raise SourceError(
                f"{self.url.host} redirects to no address: {self.hide(str(error))}.",
                remedy="correct `url` in sources.toml",
            ) from None
        raise SourceError(
            f"{self.url.host} redirects more than {REDIRECTS_MAX} times.",
            remedy="correct `url` in sources.toml",
        )

    def _keep_pace(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._sleep(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + 60 / self.limits.requests_per_minute

    def _body(self, answer: httpx.Response, deadline_s: float) -> bytes:
        limit, body = self.limits.bytes_max, bytearray()
        # As they come: waiting for whole blocks would let a trickle last for ever.
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > limit:
                raise SourceError(
                    f"{self.url.host} answers with more than {limit} bytes.",
                    remedy="ask for less, or raise `bytes_max`",
                    rule="oversized_file",
                )
            if time.monotonic() > deadline_s:
                raise VendorUnavailableError(
                    f"{self.url.host} needs more than {self.limits.total_s:g} s for an answer.",
                    remedy="ask again later, or raise `total_s`",
                )
        return bytes(body)

    def _require_allowed(
        self, url: httpx.URL, error: type[ConfigurationError | SourceError]
    ) -> None:
        if url.host not in self.limits.hosts:
            raise error(
                f"{url.host!r} is not one of the hosts {', '.join(self.limits.hosts)}.",
                remedy="add it to `hosts` in sources.toml if the vendor says that it is theirs",
            )
        if url.scheme != "https" and not (url.scheme == "http" and url.host in _LOOPBACK):
            raise error(
                f"{url.host} would be asked over {url.scheme!r}: the key would be readable.",
                remedy="write https:// in sources.toml",
            )

    def _require_success(self, answer: httpx.Response) -> None:
        status, host = answer.status_code, self.url.host
        if status in (401, 403):
            raise VendorCredentialError(
                f"{host} does not accept the key: HTTP {status}.",
                remedy="check the variable that `key_env` in sources.toml names",
            )
        if status in (408, 429) or status >= 500:
            raise VendorUnavailableError(
                f"{host} answers with HTTP {status}.",
                remedy=_SEND_AGAIN,
                wait_s=_retry_after_s(answer.headers),
            )
        if status != 200:
            raise SourceError(
                f"{host} answers with HTTP {status}.", remedy="correct `url` in sources.toml"
            )


@contextmanager
def _redacted_logs(hide: Callable[[str], str]) -> Iterator[None]:
    """Take the key out of what the library logs: a request's address, where it is redirected."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args = hide(record.getMessage()), ()
        return True

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(redact)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(redact)


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """Return what ``Retry-After`` says: seconds, or a date (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        # Against the server's own clock, where it says what that shows.
        since = parsedate_to_datetime(headers.get("date", ""))
        wait_s: float = (parsedate_to_datetime(said) - since).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(0.0, wait_s)
