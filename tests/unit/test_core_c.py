"""The core's C, by itself: compiled strictly, under the sanitizers, and fuzzed for a moment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core_c.build import (
    CORE,
    HERE,
    OPTIMISED,
    SOURCES,
    STRICT,
    CompileError,
    build_fuzzer,
    build_tests,
    run_compiler,
    sentences,
)

TESTS = [module for module in SOURCES if module.startswith("test_")]
FUZZERS = [module for module in SOURCES if module.startswith("fuzz_")]
# A compiler that optimises may make a loop of what recurses.
MEASURES_THE_STACK = "test_backend_requests"
FUZZ_SECONDS = 3  # each, at once on two cores
COMPILERS = ["gcc", *filter(shutil.which, ["clang"])]  # clang is a development extra


Build = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Build:
    directory = tmp_path_factory.mktemp("core_c")
    built: dict[tuple[str, str], Path] = {}

    def build(module: str, optimised: str) -> Path:
        key = module, optimised
        if key not in built:
            built[key] = build_tests(module, directory, optimised)
        return built[key]

    return build


@pytest.mark.parametrize(
    ("module", "sentence", "optimised"),
    [
        (module, sentence, optimised)
        for module in TESTS
        for optimised in ([OPTIMISED, "-O0"] if module == MEASURES_THE_STACK else [OPTIMISED])
        for sentence in sentences(module)
    ],
    ids=lambda text: text.removeprefix("test_"),
)
def test_core(program: Build, module: str, sentence: str, optimised: str) -> None:
    done = subprocess.run(
        [program(module, optimised), sentence],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_core_compiles_without_a_warning(compiler: str) -> None:
    sources = sorted(CORE.glob("[!_]*.c"))  # _core.c is cffi's
    assert sources
    run_compiler(compiler, *STRICT, "-fsyntax-only", *sources)


def test_each_c_file_of_the_tests_is_built() -> None:
    assert {path.stem for path in HERE.glob("*_*.c") if path.stem[:4] in {"test", "fuzz"}} == set(
        SOURCES
    )


@pytest.mark.timeout(120)
def test_fuzzers_find_nothing_in_a_few_seconds(tmp_path: Path) -> None:
    _require_libfuzzer(tmp_path)
    running = []
    for module in FUZZERS:
        fuzzer = build_fuzzer(module, tmp_path)
        crashes = tmp_path / f"{module}-"
        arguments = [f"-max_total_time={FUZZ_SECONDS}", "-max_len=1024", "-timeout=10"]
        running.append(
            subprocess.Popen(
                [fuzzer, *arguments, f"-artifact_prefix={crashes}"],
                stderr=subprocess.PIPE,
                env=os.environ | {"ASAN_OPTIONS": "quarantine_size_mb=16"},
                cwd=tmp_path,
            )
        )
    said = [process.communicate()[1][-5000:].decode(errors="replace") for process in running]
    for process, text in zip(running, said, strict=True):
        assert process.returncode == 0, text


def _require_libfuzzer(tmp_path: Path) -> None:
    if not shutil.which("clang"):
        pytest.skip("clang is not installed")
    probe = tmp_path / "probe.c"
    probe.write_text(
        "int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long);\n"
        "int LLVMFuzzerTestOneInput(const unsigned char *o, unsigned long n) {\n"
        "    (void)o, (void)n;\n"
        "    return 0;\n"
        "}\n"
    )
    try:
        run_compiler("clang", "-fsanitize=fuzzer,address,undefined", probe, "-o", tmp_path / "p")
    except CompileError as error:
        pytest.skip(f"clang has no libFuzzer: {str(error).splitlines()[-1]}")
