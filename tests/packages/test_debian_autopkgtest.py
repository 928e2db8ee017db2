"""debian/tests, as Debian's own machinery runs them: on what is installed."""

from __future__ import annotations

from pathlib import Path

from tests.packages.roots import Root


def test_autopkgtest_passes(system: Root, built: Path) -> None:
    source = built.parent / "source"
    system.run("apt-get", "-qy", "install", "autopkgtest")
    system.put(list(source.iterdir()), "/srv/source")
    (dsc,) = source.glob("*.dsc")
    said = system.shell(f"autopkgtest /srv/*.deb /srv/source/{dsc.name} -- null")
    assert "spoken and recorded: " in said
    summary = said.rpartition(" summary")[2].split()
    assert summary == ["playing.py", "PASS"]
