"""`python -m bench.policy`: what a decision and a reload cost, beside the plain way of doing both.

1,000 rules of every kind in ten files, 200 guests with tags. The plain way is what one writes
first: yaml.safe_load, and a walk over all rules with fnmatch. Nothing is asserted; only the ratios
within one run count on a machine that others use as well.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from policy import engine
from policy.engine import decide, next_change
from policy.language.loader import load
from policy.model import Direction, GuestIdentity, Policy

RULES, GUESTS, FILES = 1000, 200, 10
ROUNDS = 15


def rule(number: int) -> str:
    """Of ten rules four are for names, three for globs, and one each for uuid, tag and label."""
    guests = (
        f"guest-{number}", f"work-{number}", f"mail-{number}", f"web-{number}", f"'dvm-{number}-*'",
        f"'*-{number}'", f"'call-[0-4]{number}*'", f"uuid:{UUID(int=number)}", f"tag:tag-{number}",
        f"label:label-{number}",
    )  # fmt: skip
    also = "max-volume: 80%, " if number % 3 == 0 else ""
    until = ", until: 2999-01-01T00:00Z" if number % 7 == 0 else ""
    verb = ("allow", "deny", "ask")[number % 3]
    return f"  - {{guest: {guests[number % 10]}, {also}playback: allow, capture: {verb}{until}}}\n"


def write_policy(directory: Path) -> None:
    directory.chmod(0o755)
    for file in range(FILES):
        numbers = range(file * RULES // FILES, (file + 1) * RULES // FILES)
        path = directory / f"{10 + file}-bench.yaml"
        path.write_text("version: 1\nrules:\n" + "".join(map(rule, numbers)))
        path.chmod(0o644)


def guests() -> list[GuestIdentity]:
    prefixes = ("guest-", "work-", "dvm-4-", "call-3", "other-")
    return [
        GuestIdentity(
            f"{prefixes[number % 5]}{number * 4}",
            str(UUID(int=5000 + number)),
            f"label-{number}",
            frozenset({f"tag-{number * 5}", "calls", "office"}),
        )
        for number in range(GUESTS)
    ]


def plain_load(directory: Path, loader: Any) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    for path in sorted(directory.iterdir()):
        rules += yaml.load(path.read_text(), Loader=loader)["rules"]  # noqa: S506 - safe ones
    return rules


def plain_match(pattern: str, guest: GuestIdentity) -> bool:
    kind, _, value = pattern.rpartition(":")
    if kind == "uuid":
        return guest.uuid == value
    if kind == "label":
        return guest.label == value
    if kind == "tag":
        return value in (guest.tags or ())
    return fnmatchcase(guest.name, value)


def plain_decide(rules: Sequence[dict[str, Any]], guest: GuestIdentity, direction: str) -> str:
    for each in rules:
        if plain_match(each["guest"], guest) and direction in each:
            return str(each[direction])
    return "deny"


def median_ms(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    took = []
    for _ in range(ROUNDS):
        before()
        start = time.perf_counter()
        work()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def forget() -> None:
    for cached in (
        engine._decision,
        engine._index,
        engine._change_times,
        engine._streams_with_grants,
    ):
        cached.cache_clear()


def main(arguments: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(
        prog="python -m bench.policy", description=(__doc__ or "").partition("\n\n")[2]
    ).parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_policy(directory)
        measure(directory)


def measure(directory: Path) -> None:
    policy = load([directory])
    rules = plain_load(directory, yaml.CSafeLoader)
    asked = [(guest, direction) for guest in guests() for direction in Direction]
    now = datetime.now(UTC)

    def ask_all(of: Policy) -> None:
        for guest, direction in asked:
            decide(of, guest, direction, now)

    def ask_all_plainly() -> None:
        for guest, direction in asked:
            plain_decide(rules, guest, direction)

    def forget_decisions() -> None:
        engine._decision.cache_clear()

    for guest, direction in asked:
        assert decide(policy, guest, direction, now).verb == plain_decide(rules, guest, direction)
    a_decision = 1000 / len(asked)  # from milliseconds for all to microseconds for one

    print(f"{len(policy.rules)} rules in {FILES} files, {GUESTS} guests; medians of {ROUNDS}\n")
    say("one decision, asked before", median_ms(lambda: ask_all(policy)) * a_decision, "us")
    say(
        "one decision, new", median_ms(lambda: ask_all(policy), forget_decisions) * a_decision, "us"
    )
    first = median_ms(lambda: ask_all(policy), forget)
    say("one decision, new, of a new policy", first * a_decision, "us")
    say("  plain: walk with fnmatch", median_ms(ask_all_plainly) * a_decision, "us")
    print()
    say("reload", median_ms(lambda: load([directory])), "ms")
    say("reload and decide for all guests", median_ms(lambda: ask_all(load([directory]))), "ms")
    c_loader = median_ms(lambda: plain_load(directory, yaml.CSafeLoader))
    say("  plain: yaml's C loader, nothing checked", c_loader, "ms")
    python_loader = median_ms(lambda: plain_load(directory, yaml.SafeLoader))
    say("  plain: yaml.safe_load, nothing checked", python_loader, "ms")
    print()
    say(
        "next_change",
        median_ms(lambda: [next_change(policy, now) for _ in asked]) * a_decision,
        "us",
    )


def say(what: str, number: float, unit: str) -> None:
    print(f"{what:<44}{number:>10.2f} {unit}")


if __name__ == "__main__":
    main()
