"""What the roots of tests are made of, kept from run to run: Debian's packages by their names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.packages.roots import inside
from tests.support.cache import Cache, output, run

CONTROL = Path(__file__).parents[2] / "debian" / "control"
BUILT_ON = "bookworm"
SUITES = ("bookworm", "trixie")
# What looks at packages, and makes RPMs: not in the root in which Debian's packages are built.
TOOLS = ("lintian", "rpm", "rpmlint")
# What each system has on which xensnd is installed.
SYSTEM = ("systemd", "udev", "procps")
TESTERS = ("autopkgtest", "pulseaudio", "pulseaudio-utils")


class Images:
    """Directories that hold a root, made when they are first asked for."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._cache = Cache(_cache_directory(), say)

    def build(self) -> Path:
        """Where the packages are built: what debian/control asks for, and no more."""
        return self._get("build", [], _make_build_root)

    def tools(self) -> Path:
        build = self.build()

        def make(root: Path) -> None:
            run("cp", "-a", build, root)
            _apt(root, "install", *TOOLS)

        return self._get("tools", [str(build)], make)

    def system(self, suite: str, packages: Sequence[Path]) -> Path:
        """A system of that suite. In apt's cache is what these packages and their tests need."""
        return self._get(suite, [], lambda root: _make_system(root, suite, packages))

    def _get(self, name: str, recipe: Sequence[str], make: Callable[[Path], None]) -> Path:
        recipe = [Path(__file__).read_text(), CONTROL.read_text(), *recipe]
        with self._cache.locked():
            image = self._cache.get(name, recipe, lambda to: make(to / "root"))
            for other in image.parent.glob(f"{name}-*"):
                if other != image:
                    shutil.rmtree(other)
        return image / "root"


def _cache_directory() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "xensnd-packages"


def _make_build_root(root: Path) -> None:
    _debootstrap(root, BUILT_ON, "buildd", ())
    (root / "srv/debian").mkdir()
    shutil.copy(CONTROL, root / "srv/debian")
    _apt(root, "build-dep", "/srv")
    shutil.rmtree(root / "srv/debian")


def _make_system(root: Path, suite: str, packages: Sequence[Path]) -> None:
    _debootstrap(root, suite, "minbase", SYSTEM)
    for package in packages:
        shutil.copy(package, root / "srv")
    names = [f"/srv/{package.name}" for package in packages]
    _apt(root, "install", "--install-recommends", "--download-only", *names)
    _apt(root, "install", "--download-only", *TESTERS)
    for name in names:
        (root / name.lstrip("/")).unlink()


def _apt(root: Path, *arguments: str) -> None:
    inside(root, ["apt-get", "-qq", "update"])
    inside(root, ["apt-get", "-qq", "-y", *arguments])


def _debootstrap(root: Path, suite: str, variant: str, packages: Sequence[str]) -> None:
    """From where this machine has its packages, be it another suite of those."""
    known = output(
        *("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)"),
        *("Created-By: Packages", "Origin: Debian", "Component: main"),
    )
    own = output("sh", "-c", '. /etc/os-release; echo "$VERSION_CODENAME"').strip()
    sources = {f"deb {line} main".replace(own, suite) for line in known.splitlines()}
    run(
        *("mmdebstrap", "--quiet", "--mode=root", f"--variant={variant}"),
        '--aptopt=Apt::Install-Recommends "false"',
        "--dpkgopt=force-unsafe-io",  # which is quicker, and a root is made again if it breaks
        *(f"--include={package}" for package in packages),
        suite,
        root,
        *sorted(sources),
    )
    # Nothing is to be started in it.
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    inside(root, ["useradd", "--create-home", "--uid=1000", "builder"])
