"""How the C of the core is compiled for tests: strictly, and with the sanitizers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "xensnd" / "core" / "src"

STRICT = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Wno-gnu-statement-expression",  # libpipewire's macros
    "-Werror",
    *(f"-isystem/usr/include/{name}" for name in ("pipewire-0.3", "spa-0.2")),
    f"-I{CORE}",
    f"-I{HERE}",
]
SANITIZED = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OPTIMISED = "-O1"

_BACKEND = [
    "backend.c",
    "backend_audio.c",
    "backend_clock.c",
    "backend_requests.c",
    "backend_silence.c",
    "backend_trigger.c",
    "budget.c",
    "channel.c",
    "event_page.c",
    "gate.c",
    "pcm.c",
    "ring.c",
    "schedule.c",
    "sound.c",
]
_VCHAN = [
    "budget.c",
    "channel.c",
    "gate.c",
    "sample_queue.c",
    "schedule.c",
    "sound.c",
    "vchan_audio.c",
    "vchan_ring.c",
    "vchan_stream.c",
    "vchan_waiting.c",
]
_BACKEND_TESTS = ["audio", "budget", "clock", "gate", "requests", "silence", "take_over", "trigger"]
_PCM_TESTS = ["buffer", "capture", "open", "position", "reports", "stop", "writes"]
_VCHAN_TESTS = ["capture", "stream"]

# The core's sources that each test_*.c and fuzz_*.c is linked with.
SOURCES: dict[str, Sequence[str]] = {
    "test_layout": [],
    "test_ring": ["ring.c"],
    "test_event_page": ["event_page.c"],
    "test_page_directory": ["page_directory.c"],
    **{f"test_pcm_{idea}": ["pcm.c"] for idea in _PCM_TESTS},
    "test_rate_loop": ["rate_loop.c"],
    "test_loop": ["loop.c", "schedule.c"],
    "test_recorded_source": ["recorded_source.c"],
    "test_sample_queue": ["sample_queue.c"],
    "test_schedule": ["schedule.c"],
    **{f"test_backend_{idea}": _BACKEND for idea in _BACKEND_TESTS},
    "test_vchan_ring": ["vchan_ring.c"],
    **{f"test_vchan_{idea}": _VCHAN for idea in _VCHAN_TESTS},
    "fuzz_ring": ["event_page.c", "page_directory.c", "ring.c"],
    "fuzz_pcm": ["pcm.c"],
    "fuzz_vchan": ["vchan_ring.c"],
}
_HELPERS = {
    **{f"test_backend_{idea}": ["fake_engine.c"] for idea in _BACKEND_TESTS},
    **{f"test_vchan_{idea}": ["fake_engine.c"] for idea in _VCHAN_TESTS},
}
_LINKED = {
    "test_loop": ["-lpulse"],
    "test_rate_loop": ["-lm"],
    "test_backend_budget": ["-Wl,--wrap=xn_backend_ring_answer"],
    "test_backend_gate": ["-Wl,--wrap=xn_pcm_capture"],
    "test_backend_requests": ["-Wl,--wrap=xn_backend_ring_answer"],
}


class CompileError(Exception):
    """Its text is what the compiler said."""


def run_compiler(compiler: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [compiler, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CompileError(done.stderr)


def build_tests(module: str, directory: Path, optimised: str = OPTIMISED) -> Path:
    """A program of the tests in `module`.c: its one argument is the sentence to run.

    What several programs are linked with is compiled once for a directory.
    """
    program = directory / f"{module}{optimised}"
    flags = [*STRICT, *SANITIZED, optimised, "-pthread"]
    sources = [HERE / name for name in (f"{module}.c", "check.c", *_HELPERS.get(module, []))]
    objects = [
        _compiled(source, directory, optimised, flags) for source in (*sources, *_core(module))
    ]
    run_compiler("gcc", *flags, *objects, *_LINKED.get(module, []), "-o", program)
    return program


def _compiled(source: Path, directory: Path, optimised: str, flags: Sequence[str]) -> Path:
    target = directory / f"{source.stem}{optimised}.o"
    if not target.exists():
        run_compiler("gcc", *flags, "-c", source, "-o", target)
    return target


def build_fuzzer(module: str, directory: Path) -> Path:
    program = directory / module
    sanitized = [*SANITIZED, OPTIMISED, "-fsanitize=fuzzer"]
    run_compiler("clang", *STRICT, *sanitized, HERE / f"{module}.c", *_core(module), "-o", program)
    return program


def build_model_library(directory: Path) -> Path:
    """The core's pure bookkeeping alone, with each copy watched: checked_memory.h."""
    library = directory / "model.so"
    watched = ["-include", str(HERE / "checked_memory.h")]
    sources = [CORE / name for name in ("event_page.c", "page_directory.c", "pcm.c", "ring.c")]
    run_compiler(
        "gcc", *STRICT, "-O1", "-g", "-shared", "-fPIC", *watched, *sources,
        HERE / "checked_memory.c", "-o", library,
    )  # fmt: skip
    return library


def sentences(module: str) -> list[str]:
    """The names of the tests in `module`.c."""
    return re.findall(r"^TEST\((\w+)\)", (HERE / f"{module}.c").read_text(), re.MULTILINE)


def _core(module: str) -> list[Path]:
    return [CORE / name for name in SOURCES[module]]
