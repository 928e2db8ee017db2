"""Debian's own tools install, upgrade and remove the packages, on each release they are for."""

from __future__ import annotations

import re
from pathlib import Path

from tests.packages.conftest import NAMES, install
from tests.packages.roots import Root
from xensnd.version import VERSION

POLICY = "/etc/xensnd/policy.d"
MODULES = "/usr/lib/xensnd"
# What Debian lets stay when all of a package goes: users and groups, which may own files; and
# what dpkg, apt and systemd keep of their own.
KEPT = re.compile(
    r"/(etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|etc/\.pwd\.lock|var/(lib|log|cache)/.*"
    r"|usr/lib/systemd/catalog|root/.*|srv.*)"
)
PACKAGING = Path(__file__).parents[2] / "docs/packaging.md"


def test_commands_work_once_they_are_installed(installed: Root) -> None:
    for command in ("dom0", "guest", "pacat", "policy", "session"):
        name = f"xensnd-{command}"
        assert installed.run(name, "--version") == f"{name} {VERSION}\n"
    said = installed.run("xensnd-policy", "check")
    assert said == f"good: 1 rule in 1 file\n  {POLICY}/90-default.yaml\n"


def test_every_module_can_be_imported_and_is_compiled(installed: Root) -> None:
    installed.run(
        *("python3", "-I", "-W", "error", "-c"),
        f"""if True:
        import importlib, importlib.util, os, pathlib, sys
        sys.path.insert(0, "{MODULES}")
        modules = sorted(pathlib.Path("{MODULES}").rglob("*.py"))
        assert len(modules) > 80, modules
        for module in modules:
            assert os.path.exists(importlib.util.cache_from_source(str(module))), module
            name = ".".join(module.relative_to("{MODULES}").with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))
        """,
    )


def test_agent_without_xen_says_so_in_one_line(installed: Root) -> None:
    said = installed.run("xensnd-dom0", status=1)
    assert said.startswith("xensnd-dom0: ")
    assert said.count("\n") == 1


def test_service_is_enabled_and_what_it_needs_is_there(installed: Root) -> None:
    for unit in ("xensnd-dom0.service", "xensnd-qubes.service"):
        assert installed.run("systemctl", "is-enabled", unit) == "enabled\n"
    for wanted in (
        "graphical-session.target.wants/xensnd-session.service",
        "pulseaudio.socket.wants/xensnd-pulseaudio.socket",
        "default.target.wants/xensnd-guest.service",
    ):
        installed.run("test", "-L", f"/etc/systemd/user/{wanted}")
    assert installed.run("id", "-un", "xensnd") == "xensnd\n"
    assert (
        installed.run("stat", "-Lc", "%U %a", "/etc/pulse/default.pa.d/xensnd.pa") == "root 644\n"
    )
    verify = ("systemd-analyze", "verify", "--man=no")
    assert installed.run(*verify, "xensnd-dom0.service", "xensnd-qubes.service") == ""
    # Not the sockets: they are those of audio servers, of which there is none here.
    user_units = ("xensnd-guest.service", "xensnd-session.service")
    assert installed.run(*verify, "--user", *user_units, XDG_RUNTIME_DIR="/run") == ""


def test_manual_pages_are_found_and_flawless(installed: Root) -> None:
    """By name, as dpkg lists them: the roots hold no man."""
    of_dom0 = ["xensnd-dom0.8", "xensnd-pacat.8", "xensnd-policy.1", "xensnd-policy.yaml.5"]
    for package, pages in {"xensnd-dom0": of_dom0, "xensnd-guest": ["xensnd-guest.1"]}.items():
        listed = installed.run("dpkg", "-L", package)
        for page in pages:
            assert f"/usr/share/man/man{page[-1]}/{page}.gz\n" in listed


def test_upgrade_brings_the_new_policy_unless_it_was_edited(
    installed: Root, newer_debs: list[Path], tmp_path: Path
) -> None:
    untouched, edited = installed, installed.fork(tmp_path / "edited")
    edited.shell(f"echo '# Mine.' >> {POLICY}/90-default.yaml; xensnd-policy allow-capture work")
    for system in (untouched, edited):
        said = system.run("apt-get", "-qy", "install", *system.put(newer_debs, "/srv/newer"))
        assert "Traceback" not in said
        shown = system.run("dpkg-query", "-W", "-f", "${Version} ${Status}\\n", *NAMES)
        assert shown == f"{VERSION}-2 install ok installed\n" * 3
        system.run("xensnd-policy", "check")
    assert untouched.run("tail", "-1", f"{POLICY}/90-default.yaml") == "# Another line.\n"
    assert edited.run("tail", "-1", f"{POLICY}/90-default.yaml") == "# Mine.\n"
    assert "work" in edited.run("cat", f"{POLICY}/30-user.yaml")


def test_removing_leaves_configuration_alone_and_reinstalling_finds_it(installed: Root) -> None:
    installed.run("xensnd-policy", "allow-capture", "work")
    installed.run("apt-get", "-qy", "remove", *NAMES)
    assert (
        installed.run("sh", "-c", f"ls -A {MODULES} /usr/bin/xensnd* 2>&1", status=None).count(
            "No such file"
        )
        == 2
    )
    assert set(installed.run("ls", POLICY).split()) == {"30-user.yaml", "90-default.yaml"}
    assert installed.run("ls", "/etc/pulse/default.pa.d", status=None).strip() != "xensnd.pa"

    install(installed, [f"/srv/{name}" for name in installed.run("ls", "/srv").split()])
    assert "capture allow" in installed.run("xensnd-policy", "explain", "work")


def test_removing_the_shared_package_takes_the_others_with_it(installed: Root) -> None:
    installed.run("apt-get", "-qy", "remove", "xensnd-common")
    assert installed.run("sh", "-c", "ls /usr/bin/xensnd*", status=2)


PACAT = "/usr/bin/pacat-simple-vchan"
SETTINGS = "/etc/systemd/system/xensnd-dom0.service.d/30-qubes.conf"


def install_qubes_package(root: Root, version: int) -> None:
    """A package in place of Qubes' own, with the program, the group, and who is in it."""
    root.shell(
        f"""
        getent group qubes || {{ groupadd qubes; useradd -G qubes user; }}
        mkdir -p /srv/qubes/DEBIAN /srv/qubes/usr/bin
        printf '#!/bin/sh\\necho Qubes {version}\\n' >/srv/qubes{PACAT}
        chmod 755 /srv/qubes{PACAT}
        printf '%s\\n' 'Package: qubes-audio' 'Version: {version}' 'Architecture: all' \
            'Maintainer: Nobody <n@example.org>' 'Description: x' >/srv/qubes/DEBIAN/control
        dpkg-deb --build /srv/qubes /srv/qubes.deb
        dpkg --install /srv/qubes.deb
        rm -r /srv/qubes*
        """
    )


def test_program_of_qubes_is_replaced_over_its_updates_until_the_package_goes(
    system: Root,
) -> None:
    install_qubes_package(system, 1)
    said = install(system, [f"/srv/{name}" for name in system.run("ls", "/srv").split()])
    assert "after the next reboot the sound of all qubes goes through xensnd" in said
    assert system.run(PACAT, "--version") == f"xensnd-pacat {VERSION}\n"
    assert "by xensnd-dom0" in system.run("dpkg-divert", "--list", PACAT)
    assert "xensnd-session" in system.run("id", "-nG", "user").split()
    assert "SupplementaryGroups=qubes\n" in system.run("cat", SETTINGS)
    install_qubes_package(system, 2)
    assert system.run(PACAT, "--version") == f"xensnd-pacat {VERSION}\n"
    assert system.run(f"{PACAT}.qubes") == "Qubes 2\n"
    system.run("apt-get", "-qy", "remove", "xensnd-dom0")
    assert system.run(PACAT) == "Qubes 2\n"
    assert system.run("dpkg-divert", "--list", PACAT) == ""
    system.run("ls", SETTINGS, status=2)


def test_who_has_undone_it_is_not_overruled_by_an_upgrade(
    system: Root, newer_debs: list[Path]
) -> None:
    install_qubes_package(system, 1)
    install(system, [f"/srv/{name}" for name in system.run("ls", "/srv").split()])
    system.run("/usr/share/xensnd/qubes-pacat", "off")
    system.run("apt-get", "-qy", "install", *system.put(newer_debs, "/srv/newer"))
    assert system.run(PACAT) == "Qubes 1\n"


def test_without_qubes_nothing_is_put_in_the_place_of_its_program(installed: Root) -> None:
    installed.run("ls", PACAT, status=2)
    installed.run("ls", SETTINGS, status=2)
    assert installed.run("dpkg-divert", "--list", PACAT) == ""


def test_guest_package_does_without_dom0s(system: Root) -> None:
    install(
        system, [f"/srv/{name}" for name in system.run("ls", "/srv").split() if "dom0" not in name]
    )
    assert system.run("xensnd-guest", "--version") == f"xensnd-guest {VERSION}\n"
    assert system.run("sh", "-c", f"ls {MODULES}").split() == ["agent_guest", "xensnd"]


def test_purging_leaves_nothing(system: Root, debs: list[Path]) -> None:
    packages = [f"/srv/{deb.name}" for deb in debs]
    simulated = system.run("apt-get", "-qys", "--install-recommends", "install", *packages)
    others = re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)
    install(system, sorted({*others} - {*NAMES}))
    before = files(system)

    install(system, packages)
    # Used by root, each leaves what it leaves.
    for command in ("dom0", "guest", "policy", "session"):
        system.run(f"xensnd-{command}", "--help")
    system.run("xensnd-policy", "deny-playback", "work")
    assert files(system) != before
    system.run("apt-get", "-qy", "purge", *NAMES)
    assert files(system) == before


def test_purging_leaves_rules_that_somebody_named(installed: Root) -> None:
    installed.shell(
        f"xensnd-policy deny-capture work; cp {POLICY}/30-user.yaml {POLICY}/20-mine.yaml"
    )
    installed.run("apt-get", "-qy", "purge", *NAMES)
    assert installed.run("ls", "-A", POLICY) == "20-mine.yaml\n"


def test_every_package_that_dom0_gets_is_explained(system: Root, suite: str) -> None:
    """On bookworm; other releases call some libraries otherwise."""
    dom0 = [f"/srv/{name}" for name in system.run("ls", "/srv").split() if "guest" not in name]
    simulated = system.run("apt-get", "-qys", "install", *dom0)
    pulled_in = {*re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)} - {*NAMES}
    section = (
        PACKAGING.read_text().partition("## What is installed in dom0")[2].partition("\n## ")[0]
    )
    explained = set(re.findall(r"`([a-z0-9.+-]+)`", section))
    if suite == "bookworm":  # whose python3-pulsectl depends on PulseAudio
        assert pulled_in == explained
    else:
        assert len(pulled_in) < 60


def files(root: Root) -> set[str]:
    """All files with their modes and owners, but for those that may stay."""
    listed = root.run(
        *("find", "/", "-xdev", "-not", "-type", "d", "-printf", "%M %u:%g %p\\n", "-o"),
        *("-type", "d", "-printf", "%M %u:%g %p\\n"),
    )
    return {line for line in listed.splitlines() if not KEPT.fullmatch(line.split(maxsplit=2)[2])}
