"""A stand-in for ``lseg.data`` 2.1 that answers in the shapes of the real one."""

import sys
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

FIELDS = ("OPEN_PRC", "HIGH_1", "LOW_1", "TRDPRC_1", "ACVOL_UNS")
DAILY = [
    ["2020-08-31", 127.58, 131.0, 126.0, 129.04, 225702688],
    ["2020-08-28", 504.05, 505.77, 498.31, 499.23, 46907479],
]
MINUTES = [
    ["2020-03-09T13:31:00.000000000Z", 263.0, 264.0, 262.5, 263.5, 1000],
    ["2020-03-09T13:30:00.000000000Z", 262.0, 263.0, 261.5, 263.0, 2000],
]


class Error(NamedTuple):
    code: str | int | None
    message: str


class LDError(Exception):
    def __init__(self, code=None, message=None):
        super().__init__(message)
        self.code, self.message = code, message


class OpenState(Enum):
    Opened = "Opened"
    Pending = "Pending"
    Closed = "Closed"


class EventCode(Enum):
    SessionReconnecting = 7
    SessionAuthenticationFailed = 8


def raw(data=DAILY, ric="AAPL.O", interval="P1D", adjustments=("unadjusted",), **more):
    """What ``response.data.raw`` is for one instrument."""
    at = "DATE" if interval.startswith("P1D") else "DATE_TIME"
    numbers = [{"name": name, "type": "number", "decimalChar": "."} for name in FIELDS]
    return {
        "universe": {"ric": ric}, "interval": interval,
        "summaryTimestampLabel": "endPeriod" if at == "DATE" else "startPeriod",
        "adjustments": list(adjustments), "defaultPricingField": "TRDPRC_1",
        "qos": {"timeliness": "delayed"}, "headers": [{"name": at, "type": "string"}, *numbers],
        "data": [list(row) for row in data], **more,
    }  # fmt: skip


def status(code, message):
    return {"status": {"code": code, "message": message}}


def refused(code, message):
    """What the library raises when no instrument of a request has an answer."""
    error = LDError(message=f"No data to return, please check errors: ({code}, {message})")
    error.response = [SimpleNamespace(is_success=False, errors=[Error(code, message)])]
    return error


class Library:
    """Puts itself into ``sys.modules``; gives ``answers`` in turn, the last one for ever."""

    def __init__(self, monkeypatch, *answers, says=""):
        self.answers, self.says = list(answers), says
        self.asked, self.grants, self.settings = [], [], {}
        self.n_open = self.n_opened = 0
        data = ModuleType("lseg.data")
        data.OpenState, data.errors = OpenState, SimpleNamespace(LDError=LDError)
        data.get_config = lambda: SimpleNamespace(set_param=self.settings.__setitem__)
        platform = SimpleNamespace(
            Definition=self._definition,
            ClientCredentials=lambda *named: ("client_credentials", *named),
            GrantPassword=lambda *named: ("password", *named),
        )
        data.session = SimpleNamespace(platform=platform)
        pricing = ModuleType("lseg.data.content.historical_pricing")
        pricing.summaries = SimpleNamespace(Definition=self._question)
        parts = {"lseg": ModuleType("lseg"), "lseg.data": data,
                 "lseg.data.content": ModuleType("lseg.data.content"),
                 "lseg.data.content.historical_pricing": pricing}  # fmt: skip
        for name, module in parts.items():
            monkeypatch.setitem(sys.modules, name, module)

    def _definition(self, app_key, grant):
        self.grants.append((app_key, *grant))
        return SimpleNamespace(get_session=lambda: Session(self))

    def _question(self, **asked):
        def get_data(session):
            assert session.state is OpenState.Opened
            self.asked.append(asked)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return SimpleNamespace(is_success=True, errors=[], data=SimpleNamespace(raw=answer))

        return SimpleNamespace(get_data=get_data)


class Session:
    def __init__(self, library):
        self._library, self.state, self._tell = library, OpenState.Pending, None

    def on_event(self, callback):
        self._tell = callback

    def open(self):
        if self._library.says:
            self.state = OpenState.Closed
            self._tell(EventCode.SessionReconnecting, "Session is reconnecting", self)
            self._tell(EventCode.SessionAuthenticationFailed, self._library.says, self)
            return self.state
        self.state = OpenState.Opened
        self._library.n_open += 1
        self._library.n_opened += 1
        return self.state

    def close(self):
        self.state = OpenState.Closed
        self._library.n_open -= 1
