"""A domain's process in the lab that uses transport/xen as it is told, a JSON line at a time.

What it is told to do are the methods of the contract tests' worker, and those below.
"""

from __future__ import annotations

import json
import select
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.support.peer import Worker, result, serve
from tests.xen.remote import Machine

ANSWER_SECONDS = 20


class Peer:
    """`with Peer(guest) as peer: peer.do("share", 0, 4)`. An exception there is a Refused here.

    `module` is what runs there: this one, or another that ends in serve().
    """

    def __init__(
        self,
        machine: Machine,
        module: str = "tests.xen.peer",
        *arguments: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._machine = machine
        self._env = {"PYTHONPATH": "/opt/xensnd", **(env or {})}
        self._command = ("python3", "-m", module, *arguments)
        self._answered = 0

    def __enter__(self) -> Self:
        self._process = self._machine.start(
            *self._command,
            stdin=None,
            env=self._env,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def do(self, what: str, *arguments: object) -> Any:
        self._process.write(json.dumps([what, *arguments]).encode() + b"\n")
        self._answered += 1
        said = self._process.listen_until(
            lambda said: said.count(b"\n") >= self._answered, ANSWER_SECONDS
        )
        answers = said.splitlines()
        assert len(answers) == self._answered, f"no answer to {what}: {self._process.errors}"
        return result(answers[-1])

    def kill(self) -> None:
        self._process.close()


class XenWorker(Worker):
    def domid(self) -> int:
        return self._transport.domid

    def map_read_only(self, peer: int, refs: list[int]) -> str:
        """How the kernel shows the mapping's rights."""
        pages = self._transport.map_pages(peer, refs, writable=False)
        self._pages.append(pages)
        (line,) = [
            line
            for line in Path("/proc/self/maps").read_text().splitlines()
            if line.startswith(f"{pages.address:x}-")
        ]
        return line.split()[1]

    def unmap(self, which: int) -> None:
        """Twice, which must not matter."""
        self._pages[which].close()
        self._pages[which].close()

    def has_fired(self, which: int) -> bool:
        """At once, without waiting."""
        return bool(select.select([self._channels[which].fds.wait_fd], [], [], 0)[0])

    def unbind(self, which: int) -> None:
        self._channels[which].close()
        self._channels[which].close()

    def runtime_directory(self) -> str:
        return str(self._transport.runtime_directory)


def _main() -> None:
    from xensnd.transport.xen import XenTransport  # noqa: PLC0415  (it loads Xen's libraries)

    serve(XenWorker(XenTransport()))


if __name__ == "__main__":
    _main()
