"""``python -m execution.venue --config FILE``: run the paper venue until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from contracts.errors import QuantiVistaError
from execution.processes import STOP_WITH_PARENT, stop_with_parent
from execution.venue.config import read_config
from execution.venue.server import VenueServer

EXIT_REFUSED = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the venue."""
    parser = argparse.ArgumentParser(prog="python -m execution.venue", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file")
    parser.add_argument(STOP_WITH_PARENT, action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    try:
        server = VenueServer(read_config(options.config))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        if options.stop_with_parent:
            stop_with_parent(server.stop)
        server.run()
    except (QuantiVistaError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
