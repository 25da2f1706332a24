"""The coordinator as a program: `pccl_master`, or `python -m pccl.master`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from ._errors import PCCLError
from ._master import MasterNode

_SIGNAL_CHECK_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a coordinator until SIGINT or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="pccl_master", description="Coordinator of a PCCL run.")
    parser.add_argument(
        "--listen-address",
        metavar="HOST:PORT",
        default="0.0.0.0:48148",
        help="where to listen; [IPv6]:port too, port 0 for any free one (default: %(default)s)",
    )
    parser.add_argument("--state-dir", metavar="DIR", help="keep the durable record here (default: none)")
    parser.add_argument("--log-level", metavar="LEVEL", help="trace, debug, info, warn, err, fatal or none")
    options = parser.parse_args(arguments)
    # Before the port is open, so that a signal at any moment after that ends the program cleanly.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        master = MasterNode(options.listen_address, options.state_dir, log_level=options.log_level)
        master.run()
        host = options.listen_address.rpartition(":")[0]
        print(f"listening on {host}:{master.port}", flush=True)
    except PCCLError as error:
        print(f"pccl_master: {error}", file=sys.stderr)
        return 1
    while not stop.is_set() and not master.wait(_SIGNAL_CHECK_S):
        pass
    master.interrupt()
    return 0


if __name__ == "__main__":
    sys.exit(main())
