"""debian/tests, as Debian's own machinery runs them: on what is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.packages.roots import Root


@pytest.mark.flaky(reruns=1)  # sound in real time, on a machine that is shared
def test_autopkgtest_passes(system: Root, built: Path) -> None:
    source = built.parent / "source"
    system.run("apt-get", "-qy", "install", "autopkgtest")
    system.put(list(source.iterdir()), "/srv/source")
    (dsc,) = source.glob("*.dsc")
    said = system.shell(f"autopkgtest /srv/*.deb /srv/source/{dsc.name} -- null")
    assert "spoken and recorded: " in said
    assert re.search(r"@ summary\nplaying\.py +PASS\n", said)
