"""A bank's file of any format: what can be believed of it, and what is refused and why."""

from __future__ import annotations

import msgspec

from contracts.errors import QuantiVistaError, SourceError
from domain.cash_management.statements import RefusedStatement, Statement, verify
from sources.bank_statements.camt import Part, read_camt
from sources.bank_statements.mt940 import read_mt940
from sources.file_drops import RawDrop

# A month of a busy account has some 10 MB as camt.053; parsed, XML takes about ten times its size.
STATEMENT_BYTES_MAX = 64_000_000
_XML_STARTS = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<", b"\xfe\xff\x00<")


class BankFile(msgspec.Struct, frozen=True):
    """What a file said; ``sha256`` names its bytes in the drop store."""

    sha256: str
    name: str
    statements: tuple[Statement, ...]
    refused: tuple[RefusedStatement, ...]


def read_bank_file(drop: RawDrop) -> BankFile:
    """Read camt.052, camt.053, camt.054, MT940 or MT942, going on after what cannot be read.

    Nothing is raised for what the bank sent: it is among ``refused``, with the error's name, its
    message and the bytes, and everything else of the file is there. A statement is believed when
    ``domain.cash_management.statements.verify`` finds its pages complete and its sums right.
    """
    try:
        parts = _parts(drop.data)
    except QuantiVistaError as error:
        return BankFile(drop.sha256, drop.name, (), (_refused(error, None, drop.data),))
    read = [(found, raw) for found, raw in parts if isinstance(found, Statement)]
    refused = [
        _refused(found, None, raw) for found, raw in parts if isinstance(found, QuantiVistaError)
    ]
    believed, doubted = verify(statement for statement, _ in read)
    bytes_of = dict(read)
    refused.extend(_refused(error, page, bytes_of[page]) for page, error in doubted)
    return BankFile(drop.sha256, drop.name, believed, tuple(refused))


def _parts(data: bytes) -> list[Part]:
    if len(data) > STATEMENT_BYTES_MAX:
        raise SourceError(
            f"The file has {len(data)} bytes, the limit is {STATEMENT_BYTES_MAX}.",
            remedy="ask the bank to split it",
        )
    if data.lstrip().startswith(_XML_STARTS):
        return read_camt(data.lstrip() if data.lstrip().startswith(b"<") else data)
    if b":20:" in data:
        return read_mt940(data)
    raise SourceError(
        f"The file is neither XML nor MT940: it starts with {data[:32]!r}.",
        remedy="send camt.052, camt.053, camt.054, MT940 or MT942",
    )


def _refused(error: QuantiVistaError, statement: Statement | None, raw: bytes) -> RefusedStatement:
    return RefusedStatement(type(error).__name__, str(error), statement, raw)
