"""A stand-in for ``blpapi``: sessions, events, messages and elements that behave as documented."""

import datetime as dt
import sys
from types import ModuleType

STARTED, OPENED = ("SessionStarted", {}), ("ServiceOpened", {"serviceName": "//blp/refdata"})
DAILY = [
    {"date": dt.date(2020, 8, 28), "PX_OPEN": 504.05, "PX_HIGH": 505.77, "PX_LOW": 498.31,
     "PX_LAST": 499.23, "PX_VOLUME": 46907479.0},
    {"date": dt.date(2020, 8, 31), "PX_OPEN": 127.58, "PX_HIGH": 131.0, "PX_LOW": 126.0,
     "PX_LAST": 129.04, "PX_VOLUME": 225702688.0},
]  # fmt: skip
MINUTES = [
    {"time": dt.datetime(2020, 3, 9, 13, minute, tzinfo=dt.UTC).replace(tzinfo=None), "open": 263.0,
     "high": 264.0, "low": 262.5, "close": 263.5, "volume": 1000 + minute, "numEvents": 7,
     "value": 263_500.0}
    for minute in (30, 31)
]  # fmt: skip


def history(rows=DAILY, security="AAPL US Equity", **more):
    data = {"security": security, "eidData": [], "sequenceNumber": 0, "fieldExceptions": [],
            "fieldData": rows}  # fmt: skip
    return "HistoricalDataResponse", {"securityData": {**data, **more}}


def bars(rows=MINUTES):
    return "IntradayBarResponse", {"barData": {"eidData": [], "barTickData": rows}}


def error_info(category, message, subcategory=None):
    return {"source": "247::bbdbh2", "code": 15, "category": category, "message": message,
            "subcategory": subcategory}  # fmt: skip


def response_error(kind, *said):
    return kind, {"responseError": error_info(*said)}


class Name:
    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


class CorrelationId:
    def __init__(self, number):
        self._number = number

    def value(self):
        return self._number


class BlpapiError(Exception):
    pass


class Element:
    """A value, a sequence (dict) or an array (list), as the C library shows them."""

    def __init__(self, name, content):
        self._name, self._content = name, content

    def name(self):
        return Name(self._name)

    def isArray(self):  # noqa: N802
        return isinstance(self._content, list)

    def isComplexType(self):  # noqa: N802
        parts = self._content if self.isArray() else [self._content]
        return any(isinstance(part, dict) for part in parts)

    def isNull(self):  # noqa: N802
        return self._content is None

    def elements(self):
        if not self.isComplexType() or self.isArray():
            raise BlpapiError(f"{self._name} is no sequence")
        return (Element(name, content) for name, content in self._content.items())

    def values(self):
        for part in self._content:
            yield Element(self._name, part) if isinstance(part, dict) else part

    def getValue(self, index=0):  # noqa: N802
        if self.isNull() or self.isArray() or self.isComplexType() or index:
            raise BlpapiError(f"{self._name} has no value {index}")
        return self._content


class Message:
    def __init__(self, kind, content, number=None):
        self._kind, self._content, self._number = kind, content, number

    def messageType(self):  # noqa: N802
        return Name(self._kind)

    def asElement(self):  # noqa: N802
        return Element(self._kind, self._content)

    def correlationIds(self):  # noqa: N802
        return [] if self._number is None else [CorrelationId(self._number)]


class Event(list):
    (ADMIN, SESSION_STATUS, SUBSCRIPTION_STATUS, REQUEST_STATUS, RESPONSE, PARTIAL_RESPONSE,
     SUBSCRIPTION_DATA, SERVICE_STATUS, TIMEOUT, AUTHORIZATION_STATUS) = range(1, 11)  # fmt: skip

    def __init__(self, kind, *messages):
        super().__init__(messages)
        self._kind = kind

    def eventType(self):  # noqa: N802
        return self._kind


class Request:
    def __init__(self, kind):
        self.kind, self.settings = kind, {}

    def set(self, name, value):
        assert not isinstance(value, list)
        self.settings[str(name)] = value

    def append(self, name, value):
        self.settings.setdefault(str(name), []).append(value)


class SessionOptions(dict):
    def setServerHost(self, host):  # noqa: N802
        self["host"] = host

    def setServerPort(self, port):  # noqa: N802
        self["port"] = port

    def setNumStartAttempts(self, n):  # noqa: N802
        self["attempts"] = n

    def setSessionIdentityOptions(self, options):  # noqa: N802
        self["identity"] = options


class Terminal:
    """Puts itself into ``sys.modules`` as ``blpapi``.

    ``answers`` are per request, the last one for ever: events as (event type, message, ...), where
    a message is its type and content, or an exception of ``sendRequest``.
    """

    def __init__(self, monkeypatch, *answers, starts=STARTED, opens=OPENED):
        self.answers, self.starts, self.opens = list(answers), starts, opens
        self.asked, self.options, self.cancelled, self.waits = [], None, [], []
        self.n_open, self._queue = 0, []
        module = ModuleType("blpapi")
        module.Name, module.CorrelationId, module.Event = Name, CorrelationId, Event
        module.Exception, module.SessionOptions = BlpapiError, SessionOptions
        module.AuthOptions = type("AuthOptions", (), {"createWithApp": staticmethod(
            lambda app: ("app", app))})  # fmt: skip
        module.Session = self._session
        monkeypatch.setitem(sys.modules, "blpapi", module)

    def _session(self, options):
        self.options, self.n_open = options, self.n_open + 1
        return self

    def startAsync(self):  # noqa: N802
        self._queue.append(Event(Event.SESSION_STATUS, Message("SessionConnectionUp", {})))
        self._tell(Event.SESSION_STATUS, self.starts)

    def openServiceAsync(self, name):  # noqa: N802
        assert name == "//blp/refdata"
        self._tell(Event.SERVICE_STATUS, self.opens)

    def getService(self, name):  # noqa: N802
        assert name == "//blp/refdata"
        return self

    def createRequest(self, kind):  # noqa: N802
        return Request(kind)

    def sendRequest(self, request, correlationId):  # noqa: N802, N803
        self.asked.append((request.kind, request.settings))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        for kind, *messages in answer:
            found = [Message(*said, correlationId.value()) for said in messages]
            self._queue.append(Event(kind, *found))

    def nextEvent(self, timeout):  # noqa: N802
        self.waits.append(timeout)
        assert timeout > 0, "0 waits for ever"
        return self._queue.pop(0) if self._queue else Event(Event.TIMEOUT)

    def cancel(self, number):
        self.cancelled.append(number.value())

    def stop(self):
        self.n_open -= 1

    def _tell(self, kind, said):
        if said is not None:
            self._queue.append(Event(kind, Message(*said)))


def whole(*messages):
    """An answer of one event."""
    return [(Event.RESPONSE, *messages)]
