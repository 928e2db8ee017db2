"""A checkout of this project with its .venv: its agent, its stand-in for Xen, and its guests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import running_until_said
from bench.stage import Stage

ROOT = Path(__file__).parents[1]
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'


class NotACheckoutError(Exception):
    """There is no checkout of this project that is set up."""


@dataclass(frozen=True, slots=True)
class Checkout:
    root: Path
    name: str

    @staticmethod
    def at(root: Path) -> Checkout:
        """NotACheckoutError: there is none."""
        if not (root / ".venv/bin/xensnd-dom0").exists():
            raise NotACheckoutError(
                f"{root} is no checkout that is set up; run there: tools/setup-env"
            )
        return Checkout(root.absolute(), _describe(root))

    def command(self, name: str) -> str:
        return str(self.root / ".venv/bin" / name)

    def python(self, script: str) -> list[str]:
        """A script of this bench, run with the modules of that checkout."""
        return [self.command("python"), "-P", str(ROOT / "bench" / script)]

    @contextmanager
    def machine(self, directory: Path, names: Sequence[str]) -> Iterator[str]:
        """A machine with these guests. Its transport's URL."""
        directory.mkdir(parents=True)
        serve = [self.command("xensnd-localxen"), str(directory / "xen"), "serve"]
        with running_until_said("ready", serve, directory / "machine.log"):
            create = [*self.python("domains.py"), str(directory / "xen"), *names]
            subprocess.run(create, check=True)
            yield f"local:{directory / 'xen'}"

    @contextmanager
    def agent(self, stage: Stage, url: str) -> Iterator[int]:
        """The process id of its supervisor."""
        directory = stage.directory / "agent"
        directory.mkdir()
        policy = directory / "policy.d"
        policy.mkdir(mode=0o755)
        (policy / "30-user.yaml").write_text(POLICY)
        (policy / "30-user.yaml").chmod(0o644)
        command = [
            *stage.settings.prefix,
            self.command("xensnd-dom0"),
            f"--transport={url}",
            f"--policy={policy}",
            f"--runtime={directory / 'grants'}",
            f"--server={stage.pulse.address}",
            f"--audit={directory / 'audit.jsonl'}",
            f"--latency={stage.settings.latency_ms}",
        ]
        with running_until_said("xensnd-dom0: ready", command, directory / "dom0.log") as pid:
            yield pid


def _describe(root: Path) -> str:
    """Its commit, and "+" if something in it was changed since."""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=7"]
    said = subprocess.run(git, capture_output=True, text=True, check=False)
    return said.stdout.strip() or root.name
