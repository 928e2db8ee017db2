"""A domain's process in the lab that uses transport/xen as it is told, a JSON line at a time.

What it is told to do are the methods of the contract tests' worker, and those below.
"""

from __future__ import annotations

import json
import select
import sys
from pathlib import Path
from typing import Any, Self

from tests.support.peer import Worker
from tests.xen.remote import Machine
from xensnd.errors import XensndError

ANSWER_SECONDS = 20


class Peer:
    """`with Peer(guest) as peer: peer.do("share", 0, 4)`. An exception there is a Refused here.

    `module` is what runs there: this one, or another that ends in serve().
    """

    def __init__(self, machine: Machine, module: str = "tests.xen.peer") -> None:
        self._machine = machine
        self._module = module
        self._answered = 0

    def __enter__(self) -> Self:
        self._process = self._machine.start(
            *("python3", "-m", self._module),
            stdin=None,
            env={"PYTHONPATH": "/opt/xensnd"},
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
        answer = json.loads(answers[-1])
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["result"]

    def kill(self) -> None:
        self._process.close()


class Refused(Exception):
    """Type and text of the exception there."""


def serve(worker: object) -> None:
    """Does what it is told until nobody tells it any more."""
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            answer = {"result": getattr(worker, what)(*arguments)}
        except (XensndError, OSError) as error:
            answer = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


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
