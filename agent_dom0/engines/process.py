"""The process of one guest's engine. It does what the agent says, which it trusts."""

from __future__ import annotations

import json
import mmap
import os
import socket
from collections.abc import Callable, Sequence
from ctypes import addressof, c_char
from dataclasses import astuple
from typing import Any

from agent_dom0.engines.protocol import FAILURES, FDS_MAX, MESSAGE_OCTETS_MAX
from xensnd.core import (
    AudioClient,
    AudioStreamConfig,
    BackendStream,
    Budget,
    Engine,
    PcmParameters,
    RingMemory,
    VchanCore,
)
from xensnd.errors import LocalProtocolError, XensndError
from xensnd.transport.interface import EventChannel, EventFds, Handed, Pages, Receiver


class _Shared:
    """Memory of a file that the agent has passed."""

    def __init__(self, fd: int) -> None:
        try:
            self._memory = mmap.mmap(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        self._anchor: c_char | None = c_char.from_buffer(self._memory)

    @property
    def address(self) -> int:
        return addressof(self._anchor) if self._anchor is not None else 0

    def close(self) -> None:
        self._anchor = None
        self._memory.close()


def _seen(stream: BackendStream | VchanCore) -> list[object]:
    """Return it as replies.py has StreamSeen."""
    request, word, is_open = None, None, True
    if isinstance(stream, VchanCore):
        word, is_open = stream.next_word(), stream.is_open
    else:
        request = stream.next_request()
    return [
        int(stream.violation),
        stream.audio_error,
        stream.audio_index,
        stream.source,
        None if request is None else request.hex(),
        word,
        is_open,
    ]


class EngineProcess:
    def __init__(self, control: socket.socket, receiver: Receiver) -> None:
        self._control = control
        self._receiver = receiver
        self._core = Engine()
        self._budget = Budget()
        self._pages: dict[int, Pages | _Shared] = {}  # by address
        self._channels: dict[int, EventChannel] = {}
        self._streams: dict[int, BackendStream | VchanCore] = {}
        self._clients: dict[int, AudioClient] = {}
        self._last = 0
        self._verbs: dict[str, Callable[..., object]] = {
            "snapshot": self._snapshot,
            "budget": self._set_budget,
            "map": self._map,
            "share": self._share,
            "unmap": self._unmap,
            "bind": self._bind,
            "end": self._end,
            "connect": self._connect,
            "disconnect": self._disconnect,
            "stream": self._stream,
            "vchan": self._vchan,
            "free": self._free,
            "open_pcm": self._open_pcm,
            "adopt_pcm": self._adopt_pcm,
            "attach_audio": self._attach_audio,
            "of_stream": self._of_stream,
        }

    def run(self) -> None:
        """Serve until the agent closes its end."""
        wake = self._core.fileno()
        socket.send_fds(self._control, [b"{}"], [wake])
        while True:
            octets, fds, _, _ = socket.recv_fds(self._control, MESSAGE_OCTETS_MAX, FDS_MAX)
            if not octets:
                return
            call = json.loads(octets)
            reply: dict[str, object] = {"n": call.pop("n")}
            try:
                reply["is"] = self._verbs[call.pop("do")](fds, **call)
            except (XensndError, OSError, MemoryError) as error:
                kinds = (kind for kind, failure in FAILURES.items() if isinstance(error, failure))
                reply["failed"] = next(kinds, "failed")
                reply["text"] = getattr(error, "strerror", None) or str(error)
                reply["errno"] = getattr(error, "errno", 0)
            self._control.send(json.dumps(reply).encode())

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _snapshot(self, _: list[int]) -> object:
        """All that may have changed by itself. It waits for the engine, so that one that hangs
        does not answer."""
        return {
            "pauses": self._budget.stats().pauses,
            "clients": {
                str(number): [int(client.state), client.error]
                for number, client in self._clients.items()
            },
            "streams": {str(number): _seen(stream) for number, stream in self._streams.items()},
        }

    # Pages and channels

    def _map(
        self,
        fds: list[int],
        *,
        domid: int,
        refs: Sequence[int],
        writable: bool,
        layouts: Sequence[tuple[int, dict[str, Any]]],
    ) -> int:
        handed = []
        for count, layout in layouts:
            handed.append(Handed(fds[:count], layout))
            del fds[:count]
        pages = self._receiver.receive_pages(domid, refs, handed, writable=writable)
        self._pages[pages.address] = pages
        return pages.address

    def _share(self, fds: list[int]) -> int:
        shared = _Shared(fds[0])
        self._pages[shared.address] = shared
        return shared.address

    def _unmap(self, _: list[int], *, address: int) -> None:
        self._pages.pop(address).close()

    def _bind(self, fds: list[int], *, layout: dict[str, Any]) -> object:
        number = self._new()
        channel = self._receiver.receive_channel(Handed(fds, layout), lambda: None)
        self._channels[number] = channel
        return number, astuple(channel.fds)

    def _end(self, _: list[int], *, channel: int) -> None:
        self._channels.pop(channel).close()

    def _set_budget(self, _: list[int], *, percent: int) -> None:
        self._budget.set_percent(percent)

    # The audio server

    def _connect(self, _: list[int], *, server: str | None, properties: dict[str, str]) -> int:
        number = self._new()
        self._clients[number] = AudioClient(self._core, server, properties)
        return number

    def _disconnect(self, _: list[int], *, client: int) -> None:
        self._clients.pop(client).close()

    # Streams

    def _stream(
        self,
        _: list[int],
        *,
        playback: bool,
        ring: int,
        event: int,
        requests: list[int],
        events: list[int],
        pcm: int,
        gate: int,
    ) -> int:
        number = self._new()
        self._streams[number] = BackendStream(
            self._core,
            playback=playback,
            ring_address=ring,
            event_address=event,
            requests=EventFds(*requests),
            events=EventFds(*events),
            pcm_address=pcm,
            budget=self._budget,
            gate_address=gate,
        )
        return number

    def _vchan(
        self,
        _: list[int],
        *,
        playback: bool,
        page: int,
        left: list[int],
        right: list[int],
        channel: list[int],
        given: int,
        gate: int,
    ) -> int:
        number = self._new()
        self._streams[number] = VchanCore(
            self._core,
            playback=playback,
            page_address=page,
            left=RingMemory(*left),
            right=RingMemory(*right),
            channel=EventFds(*channel),
            given_address=given,
            budget=self._budget,
            gate_address=gate,
        )
        return number

    def _card_stream(self, number: int) -> BackendStream:
        stream = self._streams[number]
        if not isinstance(stream, BackendStream):
            raise LocalProtocolError("a vchan has no PCM")
        return stream

    def _free(self, _: list[int], *, stream: int) -> None:
        self._streams.pop(stream).close()

    def _open_pcm(self, _: list[int], *, stream: int, config: list[int], address: int) -> None:
        self._card_stream(stream).open_pcm(PcmParameters(*config), address)

    def _adopt_pcm(self, _: list[int], *, stream: int, config: list[int], address: int) -> bool:
        return self._card_stream(stream).adopt_pcm(PcmParameters(*config), address)

    def _attach_audio(
        self, _: list[int], *, stream: int, client: int, config: dict[str, Any]
    ) -> None:
        self._streams[stream].attach_audio(self._clients[client], AudioStreamConfig(**config))

    def _of_stream(self, _: list[int], *, stream: int, verb: str, arguments: list[Any]) -> object:
        core = self._streams[stream]
        match verb:
            case "begin":
                core.begin(succeeds=arguments[0])
            case "answer":
                self._card_stream(stream).answer(bytes.fromhex(arguments[0]))
            case "peek":
                return self._card_stream(stream).peek(*arguments).hex()
            case "recent":
                return core.recent(*arguments).hex()
            case "poke":
                self._card_stream(stream).poke(arguments[0], bytes.fromhex(arguments[1]))
            case "admit_source":
                return int(core.admit_source(*arguments))
            case "admit_microphone":
                return int(core.admit_microphone(*arguments))
            case "stats":
                stats = core.stats()
                return [getattr(stats, name) for name in stats.__slots__]
            case "start" | "stop" | "close_pcm" | "detach_audio" | "reset" | "drop_word":
                getattr(core, verb)()
            case "hand_over" if isinstance(core, VchanCore):
                core.hand_over()
            case _:
                raise ValueError(verb)
        return None
