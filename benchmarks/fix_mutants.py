"""Damaged FIX messages: what a seed makes of a valid one. Pure; the drivers send them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import msgspec

from benchmarks import fix_wire as wire

Fields = list[tuple[bytes, bytes]]
_HEADER = frozenset({b"35", b"34", b"49", b"52", b"56"})
_DECLARED = re.compile(rb"\x019=(\d{1,12})\x01")
_FIELDS = re.compile(rb"(?:-?[0-9]{1,9}=[^\x01]*\x01)+")
# What ends a message that waits for more: a length, as many bytes, a trailer. A parser that waits
# for nothing skips it, as no message begins in it.
FILLER_BYTES_MAX = 200_000
LONG_BYTES_MAX = 40_000


class Mutant(msgspec.Struct, frozen=True):
    """A damaged message.

    ``is_framed`` says whether its frame is still right and made of fields, so that a FIX engine
    must account for its sequence number; what is neither is ignored, as garbled. ``missing_bytes``
    is how many bytes its BodyLength promises beyond its end.
    """

    kind: str
    raw: bytes
    is_framed: bool
    missing_bytes: int

    @property
    def is_deaf(self) -> bool:
        """Whether its receiver waits for more than anybody will send."""
        return self.missing_bytes > FILLER_BYTES_MAX

    @property
    def filler(self) -> bytes:
        """What must follow an unframed one, so that it swallows nothing else."""
        return b"\x019=0\x01" + b"x" * max(self.missing_bytes, 0) + b"\x0110=000\x01"


def _sealed(fields: Fields) -> bytes:
    return wire.sealed(b"".join(tag + b"=" + value + wire.SOH for tag, value in fields))


def mutant(rng: random.Random, fields: Fields, *, is_gentle: bool = False) -> Mutant:
    """Return a message of these fields with one kind of damage.

    Parameters
    ----------
    rng : random.Random
        Seeded by the caller; the same state gives the same mutant.
    fields : list of (tag, value)
        A valid message from MsgType on, without CheckSum.
    is_gentle : bool
        Spare what makes a session end at once (its header, a BodyLength that promises more than
        will come): for a peer that waits a second before it connects again.
    """
    kinds = _GENTLE if is_gentle else _ALL
    name = rng.choices(list(kinds), weights=[_WEIGHTS[kind] for kind in kinds])[0]
    raw = kinds[name](rng, list(fields))
    is_framed = wire.is_framed(raw) and _FIELDS.fullmatch(raw) is not None
    return Mutant(name, raw, is_framed, _missing(raw))


def _missing(raw: bytes) -> int:
    found = _DECLARED.search(raw)
    if found is None:
        return 0
    return found.end() + int(found[1]) - len(raw)


# Damage to the bytes of a sealed message -------------------------------------------------------


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_raw(rng: random.Random, fields: Fields) -> bytes:
    return _flipped(rng, _sealed(fields))


def _flip_sealed(rng: random.Random, fields: Fields) -> bytes:
    raw = _sealed(fields)
    body = raw[raw.index(b"\x0135=") + 1 : -7]
    return wire.sealed(_flipped(rng, body))


def _flip_values(rng: random.Random, fields: Fields) -> bytes:
    number = _body_index(rng, fields)
    tag, value = fields[number]
    fields[number] = (tag, _flipped(rng, value or b"0"))
    return _sealed(fields)


def _truncated(rng: random.Random, fields: Fields) -> bytes:
    raw = _sealed(fields)
    # The checksum's value goes too: whatever follows could complete what is left of it.
    return raw[: rng.randrange(1, len(raw) - 5)]


def _bad_checksum(rng: random.Random, fields: Fields) -> bytes:
    bad = [b"%03d" % rng.randrange(1000), b"256", b"-01", b"1e2", b"", b"99999999", b"\xff\xfe\xfd"]
    return _sealed(fields)[:-4] + rng.choice(bad) + wire.SOH


def _bad_length(rng: random.Random, fields: Fields) -> bytes:
    head, body = _sealed(fields).split(b"\x0135=", 1)
    right = int(head.rpartition(b"=")[2])
    wrong = rng.choice(
        [b"%d" % max(right + rng.randint(-60, 400), 0), b"-5", b"abc", b"", b"0", b"007"]
    )
    return wire.BEGIN + b"\x019=" + wrong + b"\x0135=" + body


def _deaf_length(rng: random.Random, fields: Fields) -> bytes:
    body = _sealed(fields).split(b"\x0135=", 1)[1]
    wrong = rng.choice(
        [b"999999", b"2147483647", b"2147483648", b"4294967295", b"9" * 20, b"9" * 400]
    )
    return wire.BEGIN + b"\x019=" + wrong + b"\x0135=" + body


# Damage to the fields, sealed again --------------------------------------------------------------


def _body_index(rng: random.Random, fields: Fields) -> int:
    places = [number for number, (tag, _) in enumerate(fields) if tag not in _HEADER]
    return rng.choice(places) if places else 0


def _duplicate(rng: random.Random, fields: Fields) -> bytes:
    tag, value = fields[_body_index(rng, fields)]
    for _ in range(rng.choice([1, 1, 1, 2, 400])):
        other = value if rng.random() < 0.5 else b"%d" % rng.randrange(1_000)
        fields.insert(rng.randint(5, len(fields)), (tag, other))
    return _sealed(fields)


def _missing_tag(rng: random.Random, fields: Fields) -> bytes:
    for _ in range(rng.randint(1, 3)):
        del fields[_body_index(rng, fields)]
    return _sealed(fields)


def _missing_header(rng: random.Random, fields: Fields) -> bytes:
    del fields[rng.randrange(5)]
    return _sealed(fields)


_NUMBERS = [
    # A sign, an exponent, too many digits, digits of other scripts.
    b"9" * 20,
    b"9" * 400,
    b"9" * 6_000,
    b"-1",
    b"-0",
    b"+5",
    b"0",
    b"1e9",
    b"1e999999",
    b"1E-999999",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"sNaN",
    b"1_000",
    b"0x10",
    b" 7",
    b"7 ",
    b"1.5",
    b".5",
    b"5.",
    b"1,000",
    b"00000000000000007",
    b"0.00000000001",
    b"9223372036854775808",
    b"2147483648",
    b"\xd9\xa3",
    b"\xc2\xb2",
]


def _number(rng: random.Random, fields: Fields) -> bytes:
    numeric = [
        index
        for index, (tag, value) in enumerate(fields)
        if tag not in _HEADER and value.replace(b".", b"").isdigit()
    ]
    index = rng.choice(numeric) if numeric else _body_index(rng, fields)
    fields[index] = (fields[index][0], rng.choice(_NUMBERS))
    return _sealed(fields)


_TEXTS = [
    b"\xff\xfe",
    b"\xc3(",
    b"\xed\xa0\x80",
    b"\x00",
    b"\x00" * 50,
    b"\x01",
    b"\x01\x01",
    b"\x0110=123",
    b"\x019=5",
    b"\x018=FIX.4.4\x019=5\x0135=0\x0110=000",
    b"=",
    b"a=b=c",
    b"\x01=",
    b"\x01=5",
    b"\x01abc=5",
    b"\x01-1=5",
    b"\x0199999999999=5",
    b"\x010=5",
    b"\x0143=Y",
    b"\xf0\x9f\x92\xa9",
    b"\r\n",
    b"%s%n",
    b"9999-99-99",
    b"20101399",
    b"99999999",
    b"00000000",
    b"99999999-99:99:99",
    b"00010101-00:00:00",
    b"99991231-23:59:59.999999999999",
    b"20100820-23:59:60",
]


def _text(rng: random.Random, fields: Fields) -> bytes:
    index = _body_index(rng, fields)
    tag, value = fields[index]
    cut = rng.randint(0, len(value))
    kept = rng.choice([(value[:cut], value[cut:]), (b"", b"")])
    fields[index] = (tag, kept[0] + rng.choice(_TEXTS) + kept[1])
    return _sealed(fields)


def _group(rng: random.Random, fields: Fields) -> bytes:
    count = rng.choice([b"0", b"1", b"2", b"3", b"-1", b"1000000", b"2147483647", b"x", b""])
    group: Fields = rng.choice(
        [
            [(b"453", count), (b"448", b"A"), (b"447", b"D"), (b"452", b"1"), (b"448", b"B")],
            [(b"453", count), (b"447", b"D"), (b"448", b"A")],
            [(b"382", count), (b"375", b"X"), (b"337", b"Y"), (b"437", b"5")],
            [(b"386", count), (b"336", b"PRE"), (b"336", b"POST"), (b"336", b"LATE")],
            [(b"453", count), (b"448", b"A"), (b"802", count), (b"523", b"S"), (b"803", b"1")],
            [(b"454", count)],
        ]
    )
    place = rng.randint(5, len(fields))
    return _sealed(fields[:place] + group + fields[place:])


def _long(rng: random.Random, fields: Fields) -> bytes:
    size = rng.choice([300, 5_000, LONG_BYTES_MAX])
    index = _body_index(rng, fields)
    tag = fields[index][0] if rng.random() < 0.5 else b"58"
    fields.insert(index, (tag, rng.choice([b"A", b"9", b"\xff", b"="]) * size))
    return _sealed(fields)


def _many(rng: random.Random, fields: Fields) -> bytes:
    fields += [(b"%d" % rng.randint(5_000, 9_999), b"1") for _ in range(rng.choice([20, 600]))]
    return _sealed(fields)


def _data(rng: random.Random, fields: Fields) -> bytes:
    length = rng.choice([b"0", b"3", b"5", b"6", b"5000", b"-1", b"99999999", b"x"])
    place = rng.randint(5, len(fields))
    return _sealed([*fields[:place], (b"95", length), (b"96", b"a\x01b=c"), *fields[place:]])


def _shuffled(rng: random.Random, fields: Fields) -> bytes:
    rest = fields[1:]
    rng.shuffle(rest)
    return _sealed([fields[0], *rest])


def _empty(rng: random.Random, fields: Fields) -> bytes:
    index = _body_index(rng, fields)
    fields[index] = (fields[index][0], b"")
    return _sealed(fields)


def _kind(rng: random.Random, fields: Fields) -> bytes:
    kinds = [
        b"B",
        b"AE",
        b"ZZ",
        b"d",
        b"R",
        b"V",
        b"9",
        b"8",
        b"D",
        b"G",
        b"F",
        b"H",
        b"AF",
        b"j",
        b"3",
    ]
    fields[0] = (b"35", rng.choice([*kinds, rng.randbytes(2).replace(wire.SOH, b"!")]))
    return _sealed(fields)


def _sequence(rng: random.Random, fields: Fields) -> bytes:
    number = int(fields[1][1])
    wrong = [number - 1, number + 1, number + 5, 0, -1, 1, 2**31 - 1, 2**31, 2**63, 10**30]
    fields[1] = (b"34", rng.choice([*(b"%d" % one for one in wrong), b"abc", b"", b"1.5"]))
    return _sealed(fields)


def _session_kind(rng: random.Random, fields: Fields) -> bytes:
    extra: list[Fields] = [
        [
            (b"35", b"4"),
            (b"123", b"Y"),
            (b"36", rng.choice([b"1", b"999999", b"x", b"-1", b"2147483648"])),
        ],
        [(b"35", b"4"), (b"36", rng.choice([b"1", b"5000", b"x", b"9" * 30]))],
        [(b"35", b"2"), (b"7", rng.choice([b"0", b"1", b"-1", b"99999999"])), (b"16", b"0")],
        [(b"35", b"2"), (b"7", b"x"), (b"16", b"y")],
        [(b"35", b"1"), (b"112", b"")],
        [(b"35", b"1")],
        [(b"35", b"0"), (b"112", b"nobody asked")],
        [(b"35", b"3"), (b"45", rng.choice([b"1", b"x", b"9" * 30])), (b"58", b"no")],
        [
            (b"35", b"A"),
            (b"98", b"0"),
            (b"108", rng.choice([b"0", b"-1", b"30", b"x", b"2147483648"])),
        ],
        [(b"35", b"5"), (b"58", b"bye")],
    ]
    (kind, *rest) = rng.choice(extra)
    return _sealed([kind, *fields[1:5], *rest])


def _valid(_rng: random.Random, fields: Fields) -> bytes:
    return _sealed(fields)


_Damage = Callable[[random.Random, Fields], bytes]
_GENTLE: dict[str, _Damage] = {
    "valid": _valid,
    "byte flips": _flip_raw,
    "byte flips in values, sealed again": _flip_values,
    "cut off": _truncated,
    "wrong CheckSum": _bad_checksum,
    "wrong BodyLength": _bad_length,
    "tag twice": _duplicate,
    "tag missing": _missing_tag,
    "number": _number,
    "text": _text,
    "group": _group,
    "long field": _long,
    "many fields": _many,
    "data field": _data,
    "empty value": _empty,
}
_ALL: dict[str, _Damage] = _GENTLE | {
    "byte flips, sealed again": _flip_sealed,
    "BodyLength beyond all bytes": _deaf_length,
    "header field missing": _missing_header,
    "fields shuffled": _shuffled,
    "MsgType": _kind,
    "MsgSeqNum": _sequence,
    "session message": _session_kind,
}
# These may end a session.
HARSH = frozenset(_ALL) - frozenset(_GENTLE)
_WEIGHTS = (
    dict.fromkeys(_GENTLE, 10)
    | dict.fromkeys(HARSH, 4)
    | {"long field": 2, "many fields": 3, "valid": 12}
)
KINDS = tuple(_ALL)
