"""The RPMs, built and installed with Debian's rpm: nothing here has run on Fedora."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from tests.packages.builder import OTHERWISE, ROOT, build_rpms
from tests.packages.images import Images
from tests.packages.roots import USER, Root
from tests.packages.test_debian_packages import contents
from tools.changelogs import REVISION
from xensnd.version import VERSION

POLICY = "/etc/xensnd/policy.d"
UNIT = "/usr/lib/systemd/system/xensnd-dom0.service"
# Where the two distributions have the same things.
PLACES = {
    "/usr/share/zsh/vendor-completions/": "/usr/share/zsh/site-functions/",
    "/lib/systemd/system/": "/usr/lib/systemd/system/",
}
FOR_QUBES = (
    "/etc/qubes/post-install.d/10-xensnd.sh",
    "/usr/share/xensnd/qubes-pacat",
    "/usr/lib/xensnd/xensnd-qubes",
)
DEBIANS_OWN = re.compile(r"/usr/share/(doc|lintian|python3)/.*")
RPMS_OWN = re.compile(r"/usr/share/(doc|licenses)/.*|.*/__pycache__/.*|/usr/lib/\.build-id/.*")


@pytest.fixture
def root(images: Images, rpms: Path, tmp_path: Path) -> Root:
    """With rpm, and the RPMs in /srv."""
    root = Root([images.tools()], tmp_path / "root")
    root.put([*rpms.iterdir(), ROOT / "rpm/rpmlint.toml"], "/srv")
    return root


@pytest.fixture
def packages(rpms: Path) -> list[str]:
    """The installable ones, as they are called in the root."""
    return [f"/srv/{path.name}" for path in sorted(rpms.glob("*.rpm")) if ".src." not in path.name]


def test_rpmlint_has_nothing_to_say(root: Root) -> None:
    said = root.shell("cd /srv; rpmlint -c rpmlint.toml *.rpm xensnd.spec", user=USER)
    assert "0 errors, 0 warnings" in said, said


def test_rpms_are_the_same_when_built_elsewhere(images: Images, rpms: Path, tmp_path: Path) -> None:
    again = build_rpms(images, tmp_path, path="/home/builder/another", umask="077", **OTHERWISE)
    for rpm in rpms.glob("*.rpm"):
        assert digest(again / rpm.name) == digest(rpm), rpm.name


def test_architecture_is_of_the_core_alone(packages: list[str]) -> None:
    machine = subprocess.run(["uname", "-m"], stdout=subprocess.PIPE, text=True, check=True)
    release = f"{VERSION}-{REVISION}"
    assert packages == [
        f"/srv/xensnd-common-{release}.{machine.stdout.strip()}.rpm",
        f"/srv/xensnd-dom0-{release}.noarch.rpm",
        f"/srv/xensnd-guest-{release}.noarch.rpm",
    ]


def test_files_are_those_of_the_debian_packages(
    root: Root, packages: list[str], debs: list[Path]
) -> None:
    for package, deb in zip(packages, debs, strict=True):
        listed = root.run("rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\\n]", package)
        of_rpm = {
            re.sub(r"(/man/.*\.\d)$", r"\1.gz", name)
            for mode, name in (line.split() for line in listed.splitlines())
            if mode[0] != "d" and not RPMS_OWN.fullmatch(name)
        }
        of_deb = {
            placed(name.removeprefix("."))
            for _, _, name in contents(deb)
            if name[-1] != "/" and not DEBIANS_OWN.fullmatch(name.removeprefix("."))
        }
        assert of_rpm == of_deb


def test_files_are_roots_and_nobody_else_writes_them(root: Root, packages: list[str]) -> None:
    form = "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\\n]"
    for line in root.run("rpm", "-qp", "--qf", form, *packages).splitlines():
        mode, owner, name = line.split()
        assert owner == "root:root", name
        is_program = name.startswith("/usr/bin/") or name in FOR_QUBES or name.endswith(".so")
        expected = {
            "d": "rwxr-xr-x",
            "l": "rwxrwxrwx",
            "-": "rwxr-xr-x" if is_program else "rw-r--r--",
        }
        assert mode[1:] == expected[mode[0]], name


def test_policy_alone_is_configuration(root: Root, packages: list[str]) -> None:
    form = "[%{FILEFLAGS:fflags} %{FILENAMES}\\n]"
    listed = root.run("rpm", "-qp", "--qf", form, *packages).splitlines()
    flagged = [line.split() for line in listed if not line.startswith(" ")]
    assert [entry for entry in flagged if "c" in entry[0]] == [["cn", f"{POLICY}/90-default.yaml"]]


def test_rpm_installs_upgrades_and_removes_them(root: Root, packages: list[str]) -> None:
    before = files(root)
    root.run("rpm", "-i", "--nodeps", *packages)
    assert root.run("rpm", "-V", "--nodeps", "xensnd-common", "xensnd-dom0", "xensnd-guest") == ""
    for command in ("dom0", "guest", "policy", "session"):
        assert root.run(f"xensnd-{command}", "--version") == f"xensnd-{command} {VERSION}\n"
    root.shell(f"echo '# Mine.' >>{POLICY}/90-default.yaml")

    newer = newer_rpms(root)
    root.run("rpm", "-U", "--nodeps", *newer)
    assert root.run("rpm", "-q", "--qf", "%{RELEASE}", "xensnd-dom0") == "2"
    assert root.run("tail", "-1", f"{POLICY}/90-default.yaml") == "# Mine.\n"

    said = root.run("rpm", "-e", "--nodeps", "xensnd-common", "xensnd-dom0", "xensnd-guest")
    kept = f"{POLICY}/90-default.yaml.rpmsave"
    assert f"warning: {POLICY}/90-default.yaml saved as {kept}\n" in said
    assert files(root) - before == {"/etc/xensnd", kept}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (":", "kill --kill-who=main --signal=USR2 xensnd-dom0.service"),
        (f"echo '# Other' >>{UNIT}", "try-restart xensnd-dom0.service"),
    ],
    ids=["same-unit", "other-unit"],
)
def test_upgrade_renews_the_service_and_restarts_one_that_is_another(
    root: Root, packages: list[str], change: str, told: str
) -> None:
    """A systemctl that writes down what it is told: no systemd runs in a root."""
    newer = newer_rpms(root)
    said = root.shell(
        f"""
        mkdir -p /run/systemd/system
        printf '#!/bin/sh\\necho "$@" >>/run/told\\n' >/usr/bin/systemctl
        chmod 755 /usr/bin/systemctl
        rpm -i --nodeps {" ".join(packages)}
        {change}
        >/run/told
        rpm -U --nodeps {" ".join(newer)}
        cat /run/told
        ls /run
        """
    )
    assert f"daemon-reload\n{told}\n" in said
    assert "xensnd-dom0.service.before" not in said


PACAT = "/usr/bin/pacat-simple-vchan"
QUBES_SPEC = f"""
Name: qubes-audio-daemon
Version: VERSION
Release: 1
Summary: x
License: x
BuildArch: noarch
%description
x
%install
mkdir -p %{{buildroot}}/usr/bin
printf '#!/bin/sh\\necho Qubes VERSION\\n' >%{{buildroot}}{PACAT}
%files
%attr(755,root,root) {PACAT}
"""


def install_qubes_rpm(root: Root, tmp_path: Path, version: int) -> None:
    """A package in place of Qubes' own, with the program and the group."""
    spec = tmp_path / "qubes.spec"
    spec.write_text(QUBES_SPEC.replace("VERSION", str(version)))
    root.put([spec], "/srv/qubes")
    root.shell(
        f"""
        getent group qubes || {{ groupadd qubes; useradd -G qubes user; }}
        rpmbuild -bb --nodeps -D '_topdir /srv/qubes' /srv/qubes/qubes.spec
        rpm -U --nodeps /srv/qubes/RPMS/noarch/*-{version}-1.noarch.rpm
        """
    )


def test_program_of_qubes_is_replaced_over_its_updates_until_the_package_goes(
    root: Root, packages: list[str], tmp_path: Path
) -> None:
    # As systemd-sysusers makes it; and without packages of Debian, as on Fedora.
    root.shell("groupadd -f xensnd-session; >/var/lib/dpkg/status")
    install_qubes_rpm(root, tmp_path, 1)
    said = root.run("rpm", "-i", "--nodeps", *packages)
    assert "after the next reboot the sound of all qubes goes through xensnd" in said
    assert root.run("readlink", PACAT) == "xensnd-pacat\n"
    assert "xensnd-session" in root.run("id", "-nG", "user").split()
    install_qubes_rpm(root, tmp_path, 2)
    assert root.run("readlink", PACAT) == "xensnd-pacat\n"
    assert root.run(f"{PACAT}.qubes") == "Qubes 2\n"
    root.run("rpm", "-e", "--nodeps", "xensnd-dom0")
    assert root.run(PACAT) == "Qubes 2\n"


def test_without_qubes_nothing_is_put_in_the_place_of_its_program(
    root: Root, packages: list[str]
) -> None:
    root.run("rpm", "-i", "--nodeps", *packages)
    root.run("ls", PACAT, status=2)


def newer_rpms(root: Root) -> list[str]:
    root.shell(
        """
        mkdir /srv/newer
        cd /srv
        rpm2cpio *.src.rpm | cpio -i --quiet -D newer
        sed -i 's/^Release: .*/Release: 2/' newer/xensnd.spec
        rpmbuild -bb --nodeps -D '_topdir /srv/newer' -D '_sourcedir /srv/newer' newer/xensnd.spec
        """
    )
    return root.shell("ls /srv/newer/RPMS/*/*.rpm").split()


def files(root: Root) -> set[str]:
    """And directories that are named after us: the others are there on each Fedora."""
    return set(
        root.shell(
            r"find / -xdev \( -path /srv -o -path /var -o -path /root \) -prune"
            " -o -not -type d -print -o -name 'xensnd*' -print"
        ).splitlines()
    )


def placed(name: str) -> str:
    for debians, fedoras in PLACES.items():
        if name.startswith(debians):
            return fedoras + name.removeprefix(debians)
    return name


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
