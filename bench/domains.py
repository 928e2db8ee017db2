"""Creates domains of a stand-in for Xen: `python -P bench/domains.py DIRECTORY NAME...`.

As bench/guest.py it is run by the interpreter of the checkout that the machine belongs to.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import closing, suppress
from typing import Any

from xensnd.transport.local import LocalTransport


def toolstack() -> Any:
    with suppress(ModuleNotFoundError):
        return importlib.import_module("xensnd.localxen.toolstack")
    return importlib.import_module("xensnd.transport.toolstack")  # where it was once


def main(directory: str, *names: str) -> None:
    with closing(LocalTransport(directory)) as transport:
        for name in names:
            toolstack().create(transport, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
