"""Makes the packages of what is committed, in roots that hold nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.packages.images import Images
from tests.packages.roots import USER, Root

ROOT = Path(__file__).parents[2]
# For each build another: packages are to be the same nevertheless.
OTHERWISE = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": "/nonexistent"}


def make(kind: str, to: Path) -> Path:
    """tools/make-packages, on this machine."""
    subprocess.run(
        [ROOT / "tools/make-packages", kind, to], stdout=subprocess.DEVNULL, check=True, cwd=ROOT
    )
    return to


def build_debian(
    images: Images, work: Path, *, path: str = "/srv/build", umask: str = "022", **environment: str
) -> Path:
    """The .debs and what goes with them."""
    source = make("dsc", work / "source")
    root = Root([images.build()], work / "root")
    root.put(list(source.iterdir()), path)
    root.shell(
        f"""
        umask {umask}
        cd {path}
        dpkg-source --extract *.dsc tree >log
        cd tree
        dpkg-buildpackage -us -uc -b >>../log 2>&1 || {{ cat ../log; exit 1; }}
        rm -r ../tree
        """,
        user=USER,
        **environment,
    )
    root.take(path, work / "built")
    return work / "built"


def build_rpms(
    images: Images, work: Path, *, path: str = "/srv/build", umask: str = "022", **environment: str
) -> Path:
    """The RPMs, their source and the spec."""
    source = make("spec", work / "source")
    root = Root([images.tools()], work / "root")
    root.put([*source.iterdir(), ROOT / "tools/rpmbuild"], path)
    root.shell(
        f"umask {umask}; cd {path}; ./rpmbuild top xensnd.spec >log 2>&1 || {{ cat log; exit 1; }}",
        user=USER,
        SOURCE_DATE_EPOCH=commit_time(),
        **environment,
    )
    root.take(f"{path}/top", work / "built")
    built = work / "rpms"
    built.mkdir()
    for rpm in (work / "built").rglob("*.rpm"):
        shutil.move(rpm, built)
    shutil.copy(source / "xensnd.spec", built)
    return built


def commit_time() -> str:
    return subprocess.run(
        ["git", "log", "-1", "--format=%ct"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


def newer(package: Path, to: Path) -> Path:
    """The same package, a revision later, with another default policy."""
    tree = to / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(0\.\d+\.\d+)-1\b", r"\1-2", control.read_text()))
    policy = tree / "etc/xensnd/policy.d/90-default.yaml"
    if policy.exists():
        policy.write_text(policy.read_text() + "# Another line.\n")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", tree, to], stdout=subprocess.DEVNULL, check=True
    )
    shutil.rmtree(tree)
    (built,) = to.glob(f"{package.name.split('_')[0]}_*-2_*.deb")
    return built
