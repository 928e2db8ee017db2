"""A guest that writes its frontend's state in XenStore without end: `python -m
tests.hostile.store_writer URL GUEST`. It says how often it has written when its input ends."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from xensnd.transport.factory import open_transport

WRITES_AT_ONCE = 100  # before it looks whether it is to end


@contextmanager
def store_writer(url: str, guest: str) -> Iterator[subprocess.Popen[bytes]]:
    """While the block runs, in a process of its own."""
    command = [sys.executable, "-m", "tests.hostile.store_writer", url, guest]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def main(url: str, guest: str) -> None:
    written = 0
    with closing(open_transport(url, guest)) as transport, closing(transport.open_store()) as store:
        while not select.select([sys.stdin], [], [], 0)[0]:
            for _ in range(WRITES_AT_ONCE):
                store.write("device/vsnd/0/state", "1")
            written += WRITES_AT_ONCE
    print(written)


if __name__ == "__main__":
    main(*sys.argv[1:])
