"""Archives and answers of vendors, made by hand, and a local server that gives them."""

import datetime as dt
import gzip
import io
import json
import tarfile
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from sources.file_drops import RawDrop, make_drop
from sources.market_data.protocol import Refusal, Window

DAILY_HEADER = (
    "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
)
DAILY_CSV = (
    f"{DAILY_HEADER}\r\n"
    "2020-08-31,127.58,131.00,126.00,129.04,128.10,225702688,0.0000,4.0\r\n"
    "2020-08-28,504.05,505.77,498.31,499.23,123.90,46907479,0.8200,1.0\r\n"
).encode()
INTRADAY_CSV = (
    b"timestamp,open,high,low,close,volume\r\n"
    b"2020-03-09 09:35:00,263.0,264.0,262.5,263.5,1000\r\n"
    b"2020-03-06 09:30:00,282.0,283.0,281.5,282.5,2000\r\n"
)


ALWAYS = Window(dt.date(1990, 1, 1), dt.date(2099, 12, 31))


def write(root, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def fetch(source, window=ALWAYS, instruments=()):
    found = list(source.fetch(window, instruments))
    came = {row.name: row for row in found if isinstance(row, RawDrop)}
    return came, {row.name: row.reason for row in found if isinstance(row, Refusal)}


def drop(data, name):
    return make_drop("vendor", name, data)


def lines_in(data):
    """How many lines of a text say something."""
    return sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def zipped(member, data, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(member, data)
    return file.getvalue()


def tarred(members, edit=None):
    """A tar.gz; ``edit`` may change each member's header."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if edit:
                edit(info)
            archive.addfile(info, io.BytesIO(data))
    # Short bytes become part of a test's name, which must not change from second to second.
    return gzip.compress(file.getvalue(), mtime=0)


def daily_json(symbol="AAPL", zone="US/Eastern", entries=None):
    entry = {
        "1. open": "127.58", "2. high": "131.00", "3. low": "126.00", "4. close": "129.04",
        "5. adjusted close": "128.10", "6. volume": "225702688", "7. dividend amount": "0.0000",
        "8. split coefficient": "4.0",
    }  # fmt: skip
    about = {
        "1. Information": "Daily Time Series with Splits and Dividend Events",
        "2. Symbol": symbol, "3. Last Refreshed": "2020-08-31", "4. Output Size": "Full size",
        "5. Time Zone": zone,
    }  # fmt: skip
    series = {"2020-08-31": entry} if entries is None else entries
    return json.dumps({"Meta Data": about, "Time Series (Daily)": series}).encode()


class Answer(NamedTuple):
    """What the server sends; ``length`` overrides the honest Content-Length, None sends none."""

    body: bytes = b""
    status: int = 200
    headers: tuple = ()
    length: int | None = -1
    pause_s: float = 0.0


@contextmanager
def vendor(*answers):
    """A server that gives the answers in turn, the last one for ever; yields URL and queries."""
    asked, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append({k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()})
            answer = left.pop(0) if len(left) > 1 else left[0]
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            if answer.length is not None:
                length = len(answer.body) if answer.length == -1 else answer.length
                self.send_header("Content-Length", str(length))
            self.end_headers()
            size = 64 if answer.pause_s else 1 << 20
            for start in range(0, len(answer.body), size):
                time.sleep(answer.pause_s)
                try:
                    self.wfile.write(answer.body[start : start + size])
                except OSError:
                    return

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/query", asked
        finally:
            server.shutdown()
            thread.join()
