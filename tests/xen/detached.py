"""Commands in a guest that outlive their connection, as a guest needs them that is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from tests.xen.lab import XenGuest
from tests.xen.remote import Ended

# In a session of its own, since with a connection its process group is killed. A signal to the
# group ends the command and not its shell.
SCRIPT = """
cd "$1"; shift
setsid sh -c 'trap : TERM
echo $$ >pid
"$@" <in >out 2>errors
echo $? >status.new; mv status.new status' - "$@" >/dev/null 2>&1 </dev/null &
until [ -s pid ]; do sleep 0.05; done
"""


class Detached:
    """`with Detached(guest, "xensnd-guest", "play", "-", stdin=octets) as playing:`"""

    _count = 0

    def __init__(
        self,
        guest: XenGuest,
        *argv: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> None:
        Detached._count += 1
        self._guest = guest
        self._argv = argv
        self._stdin = stdin
        self._env = [f"{name}={value}" for name, value in (env or {}).items()]
        self._directory = f"/tmp/detached-{Detached._count}"

    def __enter__(self) -> Self:
        self._guest.do("mkdir", self._directory)
        self._guest.write_file(f"{self._directory}/in", self._stdin)
        self._guest.do("sh", "-c", SCRIPT, "-", self._directory, "env", *self._env, *self._argv)
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            self.terminate()
            self.ended()
        self._guest.do("rm", "-r", self._directory)

    @property
    def is_running(self) -> bool:
        return self._read("status") == b""

    @property
    def output(self) -> bytes:
        return self._read("out")

    @property
    def errors(self) -> str:
        return self._read("errors").decode(errors="replace")

    def await_output(self, octets: int, seconds: float = 20) -> None:
        """Until it has said so many."""
        self._await(f'[ "$(stat -c %s out)" -ge {octets} ]', f"no {octets} octets", seconds)

    def terminate(self) -> None:
        self._guest.do("kill", "-TERM", f"-{self._read('pid').decode().strip()}")

    def ended(self, seconds: float = 60) -> Ended:
        self._await("[ -e status ]", "not ended", seconds)
        return Ended(int(self._read("status")), self.errors, self.output)

    def _await(self, condition: str, complaint: str, seconds: float) -> None:
        """One process that looks, rather than many: it shares the guest's processor."""
        script = f'cd "$1"; until {condition}; do sleep 0.2; done'
        try:
            self._guest.do("sh", "-c", script, "-", self._directory, seconds=seconds)
        except TimeoutError:
            text = f"{' '.join(self._argv)}: {complaint} after {seconds:g} s\n{self.errors}"
            raise TimeoutError(text) from None

    def _read(self, name: str) -> bytes:
        return self._guest.read_file(f"{self._directory}/{name}")
