"""``python -m execution --config FILE``: run the execution service until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from contracts.errors import QuantiVistaError
from execution.config import read_config
from execution.processes import STOP_WITH_PARENT, stop_with_parent
from execution.service import Service, configure_logging

EXIT_REFUSED = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the service; SIGTERM and SIGINT drain it."""
    parser = argparse.ArgumentParser(prog="python -m execution", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file")
    parser.add_argument("--verbose", action="store_true", help="log debug lines too")
    parser.add_argument(STOP_WITH_PARENT, action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    configure_logging(logging.DEBUG if options.verbose else logging.INFO, sys.stderr)
    try:
        service = Service(read_config(options.config))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        if options.stop_with_parent:
            stop_with_parent(service.stop)
        return service.run()
    except QuantiVistaError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
