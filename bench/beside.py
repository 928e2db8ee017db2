"""`python -m bench.beside CHECKOUT PROGRAM [OPTION...]`: another program of the bench, such as
revoke, policy or life, of this checkout and of another one, in turns.

Each checkout runs its own program with its own modules; what they print is shown as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.checkout import ROOT, Checkout, NotACheckoutError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description=__doc__)
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("program", metavar="PROGRAM", help="a module of bench")
    parser.add_argument("--turns", type=int, default=3, help="of each checkout (default 3)")
    options, rest = parser.parse_known_args(arguments)
    try:
        checkouts = [Checkout.at(ROOT), Checkout.at(options.checkout)]
    except NotACheckoutError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    for turn in range(options.turns):
        for checkout in checkouts:
            print(f"\nturn {turn + 1}, {checkout.root.name} at {checkout.name}", flush=True)
            command = [checkout.command("python"), "-m", f"bench.{options.program}", *rest]
            if status := subprocess.run(command, cwd=checkout.root, check=False).returncode:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
