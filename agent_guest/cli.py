"""The command line of xensnd-guest."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing

from agent_guest.card import Card
from agent_guest.pcm import SampleSpec
from agent_guest.play_record import Player, Recorder, run_with_reconnect
from agent_guest.serve import serve
from agent_guest.soundfile_io import open_reader, open_writer
from xensnd.core import Engine
from xensnd.errors import UsageError, XensndError
from xensnd.sndif.formats import PLAYABLE, SampleFormat, parse_format
from xensnd.text import quoted
from xensnd.transport.factory import add_transport_option, open_transport
from xensnd.version import VERSION

log = logging.getLogger("xensnd-guest")


def _sample_format(text: str) -> SampleFormat:
    try:
        sample_format = parse_format(text)
    except XensndError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if sample_format not in PLAYABLE:
        names = ", ".join(f.wire_name for f in PLAYABLE)
        raise argparse.ArgumentTypeError(f"{text} cannot be played; give one of {names}")
    return sample_format


def _at_least_one(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 2**31:
        return int(text)
    raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number of 1 or more")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number of seconds")


def _milliseconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 1 <= float(text) <= 2000:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{quoted(text)} is not a number of milliseconds from 1 to 2000"
    )


def _decibels(text: str) -> float:
    with contextlib.suppress(ValueError):
        if -200 <= float(text) <= 0:
            return float(text)
    raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number of decibels from -200 to 0")


def _add_spec(parser: argparse.ArgumentParser, when: str) -> None:
    parser.add_argument(
        "--format",
        type=_sample_format,
        default=SampleFormat.S16_LE,
        metavar="FORMAT",
        help=f"{when}: s16_le (default), s24_le, s32_le, float_le, u8, ...",
    )
    parser.add_argument(
        "--rate",
        type=_at_least_one,
        default=48000,
        metavar="HZ",
        help=f"{when} (default %(default)s)",
    )
    parser.add_argument(
        "--channels",
        type=_at_least_one,
        default=2,
        metavar="N",
        help=f"{when} (default %(default)s)",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xensnd-guest",
        description="Plays and records through this guest's Xen sound card, without a kernel "
        "driver: files, or all sound of the guest's own audio server.",
        epilog="Whether anything is heard or recorded is decided in dom0, by xensnd-policy.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    add_transport_option(parser)
    parser.add_argument("--domain", metavar="NAME", help="which guest to be, with local: only")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    playing = commands.add_parser("play", help="play a WAV file, or raw samples from '-'")
    playing.add_argument("file", metavar="FILE")
    _add_spec(playing, "of raw samples")
    playing.add_argument(
        "--volume",
        type=_decibels,
        metavar="DB",
        help="the volume at dom0's mixer, in decibels: 0 is full volume, -6 about half",
    )

    recording = commands.add_parser("record", help="record a WAV file, or raw samples to '-'")
    recording.add_argument("file", metavar="FILE")
    recording.add_argument("--seconds", type=_seconds, required=True, metavar="N")
    _add_spec(recording, "of the recording")

    serving = commands.add_parser(
        "serve", help="give the guest's PulseAudio or PipeWire a sink and a source"
    )
    serving.add_argument(
        "--server",
        metavar="ADDRESS",
        help="the guest's audio server: as in PULSE_SERVER, or pipewire:[NAME] for PipeWire's own "
        "protocol (default: whichever serves this session)",
    )
    serving.add_argument(
        "--latency",
        type=_milliseconds,
        default=10.0,
        metavar="MS",
        help="how much sound that server may hold back; give more if the sound crackles "
        "(default %(default)g)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="xensnd-guest: %(message)s", stream=sys.stderr)
    try:
        return asyncio.run(_run(options))
    except XensndError as error:
        print(f"xensnd-guest: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 0


async def _run(options: argparse.Namespace) -> int:
    main_task = asyncio.current_task()
    assert main_task is not None  # noqa: S101
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main_task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await _COMMANDS[options.command](options)
    return 0


async def _play(options: argparse.Namespace) -> None:
    reader = open_reader(options.file, SampleSpec(options.format, options.rate, options.channels))
    with contextlib.closing(reader):
        async with _cards(options) as connect:
            await run_with_reconnect(Player(reader, options.volume), connect)


async def _record(options: argparse.Namespace) -> None:
    spec = SampleSpec(options.format, options.rate, options.channels)
    async with _cards(options) as connect:
        with contextlib.closing(open_writer(options.file, spec)) as writer:
            recorder = Recorder(writer, spec, round(options.seconds * options.rate))
            await run_with_reconnect(recorder, connect)
    if recorder.lost_octets:
        log.warning("%d octets were lost because this guest was too slow", recorder.lost_octets)


async def _serve(options: argparse.Namespace) -> None:
    latency_usec = int(options.latency * 1000)
    await serve(options.transport, options.domain, options.server, latency_usec)


@contextlib.asynccontextmanager
async def _cards(options: argparse.Namespace) -> AsyncIterator[Callable[[], Card]]:
    """Yields a function that makes a Card of this guest, each time anew."""
    with (
        closing(open_transport(options.transport, options.domain)) as transport,
        closing(Engine()) as engine,
    ):
        yield lambda: Card(transport, engine)


_COMMANDS = {"play": _play, "record": _record, "serve": _serve}


if __name__ == "__main__":
    sys.exit(main())
