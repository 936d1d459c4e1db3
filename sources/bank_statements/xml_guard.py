"""Whether an XML file may be parsed at all: no DTD, so no entity bomb and no external entity."""

from __future__ import annotations

from xml.parsers import expat

from contracts.errors import SourceError

DEPTH_MAX = 64
ELEMENTS_MAX = 5_000_000


def require_plain_xml(data: bytes) -> None:
    """Refuse XML that declares a document type, is absurdly deep or long, or is not well-formed.

    A first pass of expat does it in whatever encoding the file is: a search for ``<!DOCTYPE`` in
    the bytes would miss one in UTF-16. No network is used: without a DTD there is nothing to fetch.

    Raises
    ------
    SourceError
        Saying what was found.
    """
    depth = elements = 0

    def refuse_doctype(name: str, *_: object) -> None:
        raise SourceError(
            f"The XML declares the document type {name!r}, which can hold entity bombs.",
            remedy="ask the bank for the plain message; ISO 20022 needs no DTD",
        )

    def start(name: str, _: object) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > DEPTH_MAX or elements > ELEMENTS_MAX:
            raise SourceError(
                f"The XML has more than {DEPTH_MAX} levels or {ELEMENTS_MAX} elements at {name}.",
                remedy="ask the bank to split the file",
            )

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    # With namespaces, as the parser after it: a prefix that nothing declares is an error there.
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(data, True)  # noqa: FBT003 - expat takes it by position only
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise SourceError(
            f"The XML is not well-formed: {error}.", remedy="ask the bank to send it again"
        ) from error
