"""`python -m pongrad` is the command `pongrad`."""

import signal
import sys
from importlib.metadata import version


def main() -> None:
    """Run the command. Ctrl-C while it is being imported ends it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:] == ["--version"]:
        print(f"pongrad {version('pongrad')}")
        return
    from pongrad.cli import main

    main()


if __name__ == "__main__":
    main()
