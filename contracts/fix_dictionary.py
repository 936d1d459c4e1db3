"""FIX 4.4's dictionary for quickfix, without what makes quickfix read beyond a message.

quickfix 1.16 believes a data field's length: with a dictionary, RawDataLength(95)=99999999 before
RawData(96) ends the process with a segmentation fault, and -1 with an abort, whoever sends it. So
the sessions that need a dictionary get one in which data fields are plain text. One that holds
SOH is then refused like any field of the wrong form.
"""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

from contracts.errors import ConfigurationError

_DATA, _TEXT = b" type='DATA'", b" type='STRING'"


def write_dictionary(directory: Path) -> Path:
    """Write the dictionary into a directory and return its path.

    Raises
    ------
    ConfigurationError
        When quickfix came without one, or with one in another form.
    """
    for file in distribution("quickfix").files or ():
        if file.name == "FIX44.xml":
            text = Path(str(file.locate())).read_bytes()
            break
    else:
        raise ConfigurationError(
            "quickfix has no FIX44.xml.", remedy="install it from its source package"
        )
    if _DATA not in text:
        raise ConfigurationError(
            "quickfix's FIX44.xml names no data fields as we know them.",
            remedy="compare it with the version that uv.lock pins",
        )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "FIX44.xml"
    path.write_bytes(text.replace(_DATA, _TEXT))
    return path
