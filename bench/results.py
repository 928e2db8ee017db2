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

    def add(self, case: Case, subject: str, figures: Figures) -> None:
        self._found.setdefault(case, {}).setdefault(subject, []).append(figures)

    def of(self, case: Case) -> dict[str, list[Figures]]:
        """Each subject's rounds."""
        return self._found[case]

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
        }

    def write(self, path: Path | None) -> None:
        if path is not None:
            path.write_text(json.dumps(self.as_json(), indent=2) + "\n")
