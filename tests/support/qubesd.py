"""qubesd as a test needs it: a process that speaks the part of the Admin API that is read here.

Written after Qubes' documentation of the Admin API, and after what its own client sends and takes.
A request is `METHOD+ARGUMENT SOURCE name TARGET` and NUL, then the end of what is sent. An answer
is `0` NUL and data, `1` NUL and an event (subject, name, keys and values, an empty key), or `2` NUL
and an error. A call that policy refuses is answered by nothing.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon, readable

_Qubes = dict[str, dict[str, Any]]


class Qubesd(Daemon):
    """The process, and what people do in the system. What it knows stays when it is stopped."""

    def __init__(self, directory: Path) -> None:
        super().__init__("qubesd", directory / "qubesd.log")
        self.socket = directory / "qubesd.sock"
        self._state = directory / "qubes.json"

    def start(self) -> None:
        command = [sys.executable, "-m", __name__, str(self.socket), str(self._state)]
        self.launch_until_line(command, b"ready", stdin=subprocess.PIPE)

    def add(self, name: str, qube_class: str, label: str, template: str = "", *tags: str) -> None:
        self._tell("add", name, {"class": qube_class, "label": label, "template": template})
        for tag in tags:
            self.tag(name, tag)

    def remove(self, name: str) -> None:
        self._tell("remove", name)

    def set(self, name: str, **properties: str) -> None:
        self._tell("set", name, properties)

    def tag(self, name: str, tag: str) -> None:
        self._tell("tag", name, tag)

    def untag(self, name: str, tag: str) -> None:
        self._tell("untag", name, tag)

    def refuse(self, method: str) -> None:
        """Answer this call by nothing, as if policy refused it."""
        self._tell("refuse", method)

    def _tell(self, *command: Any) -> None:
        """Return when it has done it, and told whoever follows events."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        assert readable([self.process.stdout.fileno()], 10), self.end_of_log
        assert self.process.stdout.readline() == b"done\n"


class _Process:
    def __init__(self, state: Path) -> None:
        self._state = state
        self._qubes: _Qubes = json.loads(state.read_text()) if state.exists() else {}
        self._refused: set[str] = set()
        self._followers: set[StreamWriter] = set()

    def do(self, what: str, name: str, value: Any = None) -> None:
        match what:
            case "add":
                self._qubes[name] = {"tags": [], **value}
                self._tell("", "domain-add", vm=name)
            case "remove":
                del self._qubes[name]
                self._tell("", "domain-delete", vm=name)
            case "set":
                self._qubes[name] |= value
                for key, new in value.items():
                    self._tell(name, f"property-set:{key}", name=key, newvalue=new)
            case "tag":
                self._qubes[name]["tags"].append(value)
                self._tell(name, f"domain-tag-add:{value}", tag=value)
            case "untag":
                self._qubes[name]["tags"].remove(value)
                self._tell(name, f"domain-tag-delete:{value}", tag=value)
            case "refuse":
                self._refused.add(name)
        self._state.write_text(json.dumps(self._qubes))

    def _tell(self, subject: str, event: str, **values: str) -> None:
        for follower in self._followers:
            follower.write(_event(subject, event, **values))

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        request, _, _ = (await reader.read()).partition(b"\0")
        call, _source, kind, target = request.decode().split(" ")
        assert kind == "name"
        method, _, argument = call.partition("+")
        if method == "admin.Events" and method not in self._refused:
            writer.write(_event("", "connection-established"))
            self._followers.add(writer)
            await writer.wait_closed()
            self._followers.discard(writer)
            return
        writer.write(self._answer(method, argument, target))
        with suppress(OSError):
            await writer.drain()
            writer.close()

    def _answer(self, method: str, argument: str, target: str) -> bytes:
        if method in self._refused or (target != "dom0" and target not in self._qubes):
            return b""
        if method == "admin.vm.List":
            lines = [
                f"{name} class={qube['class']} state=Running uuid=0\n"
                for name, qube in sorted(self._qubes.items())
            ]
            return _good("dom0 class=AdminVM state=Running uuid=0\n" + "".join(lines))
        qube = self._qubes[target]
        if method == "admin.vm.tag.List":
            return _good("".join(f"{tag}\n" for tag in sorted(qube["tags"])))
        assert method == "admin.vm.property.Get"
        if not (value := qube.get(argument)):
            text = f"QubesNoSuchPropertyError\0\0Invalid property '{argument}' of {target}\0"
            return b"2\0" + text.encode()
        return _good(f"default=False type={'label' if argument == 'label' else 'vm'} {value}")


def _good(text: str) -> bytes:
    return b"0\0" + text.encode()


def _event(subject: str, event: str, **values: str) -> bytes:
    pairs = "".join(f"{key}\0{value}\0" for key, value in values.items())
    return f"1\0{subject}\0{event}\0{pairs}\0".encode()


async def _main(path: str, state: str) -> None:
    process = _Process(Path(state))
    Path(path).unlink(missing_ok=True)
    async with await asyncio.start_unix_server(process.serve, path):
        print("ready", flush=True)
        commands = StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            process.do(*json.loads(line))
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
