"""The `lnbench` program, and `python -m lnbench` as torchrun starts it: ready for Ctrl-C before all else."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from lnbench.streams import Ended, prepare
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        prepare()
        from lnbench.cli import run

        run()
    except KeyboardInterrupt as interrupt:
        print("lnbench: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(interrupt.exit_code if isinstance(interrupt, Ended) else 130)


if __name__ == "__main__":
    main()
