"""Packages are built once for all cases; each case installs them into a root of its own.

For root, since roots are mounted. The first run makes those roots of Debian's packages.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packages import builder
from tests.packages.images import SUITES, Images
from tests.packages.roots import Root

CASE_SECONDS = 600  # the first cases make roots and packages

NAMES = ("xensnd-common", "xensnd-dom0", "xensnd-guest")


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> Images:
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end="", flush=True)

    return Images(say)


@pytest.fixture(scope="session")
def built(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian packages, and what belongs to them."""
    return builder.build_debian(images, tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="session")
def debs(built: Path) -> list[Path]:
    return [next(built.glob(f"{name}_*.deb")) for name in NAMES]


@pytest.fixture(scope="session")
def newer_debs(debs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [builder.newer(deb, tmp_path_factory.mktemp("newer")) for deb in debs]


@pytest.fixture(scope="session")
def rpms(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builder.build_rpms(images, tmp_path_factory.mktemp("rpm"))


@pytest.fixture(scope="session", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def system(images: Images, suite: str, debs: list[Path], tmp_path: Path) -> Root:
    """A Debian system without xensnd; the packages are in /srv."""
    root = Root([images.system(suite, debs)], tmp_path / "system")
    root.put(debs, "/srv")
    return root


@pytest.fixture(scope="session")
def _once_installed(
    images: Images, suite: str, debs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Root:
    root = Root([images.system(suite, debs)], tmp_path_factory.mktemp(suite) / "installed")
    install(root, root.put(debs, "/srv"))
    return root


@pytest.fixture
def installed(_once_installed: Root, tmp_path: Path) -> Root:
    """A system on which all three are installed with apt."""
    return _once_installed.fork(tmp_path / "installed")


def install(root: Root, packages: list[str]) -> str:
    """With what they recommend, as it is where nobody says otherwise."""
    return root.run("apt-get", "-qy", "--install-recommends", "install", *packages)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(CASE_SECONDS))
