"""All figures of a run of the bench, and their file."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from bench.cases import Case
from bench.figures import Figures


class Results:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._found: dict[Case, dict[str, list[Figures]]] = {}
        self._failures: dict[Case, dict[str, str]] = {}

    def add(self, case: Case, subject: str, figures: Figures) -> None:
        self._found.setdefault(case, {}).setdefault(subject, []).append(figures)

    def fail(self, case: Case, subject: str, reason: str) -> None:
        """Leaves the subject out of the case: what it did before it failed says little."""
        self._failures.setdefault(case, {})[subject] = reason
        self._found.get(case, {}).pop(subject, None)

    def of(self, case: Case) -> dict[str, list[Figures]]:
        """Each subject's rounds."""
        return self._found.get(case, {})

    def failures(self, case: Case) -> dict[str, str]:
        """Which subjects have failed, and why."""
        return self._failures.get(case, {})

    @property
    def has_failures(self) -> bool:
        return bool(self._failures)

    def streams(self, part: str) -> list[int]:
        """The numbers of streams of a part."""
        return [case.streams for case in self._found if case.part.name == part]

    def over_streams(self, part: str) -> dict[str, dict[int, list[Figures]]]:
        """Of a part, each subject's rounds by the number of streams."""
        found: dict[str, dict[int, list[Figures]]] = {}
        for case, subjects in self._found.items():
            if case.part.name == part:
                for subject, rounds in subjects.items():
                    found.setdefault(subject, {})[case.streams] = rounds
        return found

    def asked(self) -> dict[str, dict[str, set[str]]]:
        """By part and subject, what was asked of the audio server."""
        found: dict[str, dict[str, set[str]]] = {}
        for case, subjects in self._found.items():
            for subject, rounds in subjects.items():
                here = found.setdefault(case.part.name, {}).setdefault(subject, set())
                here.update(each.asked for each in rounds if each.asked)
        return found

    def as_json(self) -> dict[str, Any]:
        options = self._options
        return {
            "seconds": options.seconds,
            "rounds": options.rounds,
            "latency_ms": options.latency,
            "realtime": options.realtime,
            "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
            "cases": [
                {
                    "part": case.part.name,
                    "streams": case.streams,
                    "subject": subject,
                    "rounds": [figures.as_json() for figures in rounds],
                }
                for case, found in self._found.items()
                for subject, rounds in found.items()
            ],
            "failures": [
                {
                    "part": case.part.name,
                    "streams": case.streams,
                    "subject": subject,
                    "reason": reason,
                }
                for case, failed in self._failures.items()
                for subject, reason in failed.items()
            ],
        }

    def write(self, path: Path | None) -> None:
        if path is not None:
            path.write_text(json.dumps(self.as_json(), indent=2) + "\n")
