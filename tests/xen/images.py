"""The lab's images, made of roots.py's roots and of what is in image/.

They are kept in the cache and made again when their recipe changes. Working trees are not in them:
lab.py brings one in at each boot.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.cache import Cache, cache_directory, output, pack, run
from tests.xen.roots import Roots, build_roots

HERE = Path(__file__).parent / "image"

# What no test will ever look at, so that guests start faster.
SYSTEM_WITHOUT = (
    *("usr/share/perl", "usr/share/zoneinfo", "usr/share/mime", "usr/share/fonts"),
    *("usr/share/icons", "usr/lib/x86_64-linux-gnu/perl", "usr/lib/x86_64-linux-gnu/gconv"),
    *("usr/lib/udev/hwdb.d", "boot"),
)
DOM0_WITHOUT = (*SYSTEM_WITHOUT, "var/cache", "var/lib/apt", "var/lib/dpkg")
PYTHON_WITHOUT = tuple(
    f"{each}.cpython-311-x86_64-linux-gnu.so" for each in ("_dbm", "_sqlite3", "nis")
)
GUEST_WITHOUT = (
    *("usr/share/sounds", "usr/share/perl5", "usr/share/perl", "usr/share/zoneinfo"),
    *("usr/share/mime", "usr/share/icons", "usr/share/bash-completion", "usr/share/systemd"),
    *("usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl-base", "usr/bin/perl"),
    *("usr/lib/x86_64-linux-gnu/perl", "usr/lib/systemd", "usr/lib/udev", "usr/lib/gcc"),
    *("usr/lib/python3.11/test", "usr/lib/python3.11/lib2to3", "usr/lib/python3.11/pydoc_data"),
    *("usr/lib/python3.11/ensurepip", "usr/lib/python3.11/idlelib", "var/cache", "var/lib"),
    *("usr/lib/x86_64-linux-gnu/alsa-lib", "usr/lib/x86_64-linux-gnu/mfx"),
    *("usr/share/X11", "usr/share/iso-codes", "usr/share/xml", "etc/alsa/conf.d"),
    # And what alone needs large libraries: of ICU, Perl, pictures, GStreamer, databases, C++.
    *("usr/bin/update-mime-database", "usr/bin/perl5.36.0", "usr/bin/perl5.36-x86_64-linux-gnu"),
    *("usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0", "usr/lib/x86_64-linux-gnu/gstreamer-1.0"),
    *("usr/lib/x86_64-linux-gnu/gstreamer1.0", "usr/lib/pulse-16.1+dfsg1/modules/librtp.so"),
    *("usr/lib/pulse-16.1+dfsg1/modules/module-virtual-surround-sink.so", "usr/bin/alsabat"),
    *("usr/lib/pulse-16.1+dfsg1/modules/module-echo-cancel.so", "usr/share/libthai"),
    *("usr/lib/pulse-16.1+dfsg1/modules/libwebrtc-util.so", "usr/lib/x86_64-linux-gnu/spa-0.2/aec"),
    *(f"usr/lib/python3.11/lib-dynload/{each}" for each in PYTHON_WITHOUT),
    "lib/x86_64-linux-gnu/security",
    # Linux kills real-time threads that take 200 ms, as emulated ones do.
    "usr/lib/x86_64-linux-gnu/pipewire-0.3/libpipewire-module-rt.so",
    "usr/lib/x86_64-linux-gnu/pipewire-0.3/libpipewire-module-rtkit.so",
)
# Units of the system that have no place in the lab, or that it starts itself; emulated, each takes
# a second or more.
MASKED = (
    *("xen.service", "xendomains.service", "getty.target"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-tmpfiles-clean.timer"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("systemd-pstore.service", "systemd-random-seed.service", "systemd-journal-flush.service"),
    *("systemd-modules-load.service", "systemd-sysctl.service", "systemd-remount-fs.service"),
    *("systemd-udev-trigger.service", "kmod-static-nodes.service", "kmod.service"),
    *("procps.service", "systemd-ask-password-wall.path", "systemd-ask-password-console.path"),
    *("dev-mqueue.mount", "dev-hugepages.mount", "proc-sys-fs-binfmt_misc.automount"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    *(f"modprobe@{each}.service" for each in ("configfs", "dm_mod", "drm", "fuse", "loop")),
)
SINK = "speakers"
SOURCE = "microphone_of_speakers"  # gives what the sink plays, and is no monitor
SPEAKERS = f"""\
load-module module-null-sink sink_name={SINK} norewinds=1 rate=48000 format=s16le channels=2
load-module module-remap-source source_name={SOURCE} master={SINK}.monitor remix=no
set-default-sink {SINK}
set-default-source {SOURCE}
"""
PERSON = "alice"  # who has a session in the system
PERSON_UID = 1000
# What the working tree's own libraries need.
TREE_NEEDS = ("libpulse.so.0", "libxengnttab.so.1", "libxenevtchn.so.1")


@dataclass(frozen=True, slots=True)
class Images:
    xen: Path
    kernel: Path  # an ELF file: neither Xen nor xl has to unpack it
    dom0_ramdisk: Path
    dom0_root: Path
    system_root: Path  # the same with systemd, where packages can be installed; guests have it too
    guest_ramdisk: Path


def build_images(say: Callable[[str], None]) -> Images:
    """All that are not in the cache. `say` hears of each that takes its time."""
    cache = Cache(cache_directory(), say)
    recipe = [path.read_text() for path in (Path(__file__), *sorted(HERE.iterdir()))]
    with cache.locked():
        roots = build_roots(cache)
        recipe += [roots.boot.name, roots.dom0.name, roots.system.name, roots.guest.name]
        dom0 = cache.get("dom0", recipe, lambda to: _build_dom0(to, roots))
        system = cache.get("system", recipe, lambda to: _build_system(to, roots, dom0))
        guest = cache.get("guest", recipe, lambda to: _build_guest(to, roots))
        cache.drop_others()
    return Images(
        xen=roots.boot / "xen",
        kernel=roots.boot / "vmlinux",
        dom0_ramdisk=dom0 / "ramdisk",
        dom0_root=dom0 / "root.squashfs",
        system_root=system / "system.squashfs",
        guest_ramdisk=guest / "ramdisk",
    )


def _build_dom0(to: Path, roots: Roots) -> None:
    ramdisk = to / "ramdisk-root"
    for directory in ("bin", "dev", "proc", "sys", "mnt/ro", "mnt/rw", "root"):
        (ramdisk / directory).mkdir(parents=True)
    shutil.copy2(roots.guest / "root/bin/busybox", ramdisk / "bin")
    shutil.copytree(roots.boot / "modules", ramdisk, dirs_exist_ok=True)
    _install("dom0-ramdisk-init", ramdisk / "init")
    pack(ramdisk, to / "ramdisk")
    shutil.rmtree(ramdisk)

    root = to / "root"
    run("cp", "-a", roots.dom0 / "root", root)
    _without(root, DOM0_WITHOUT)
    _add_dom0(root, roots)
    _install("dom0-init", root / "lab/init")
    _install_commands(root)
    _squash(root, to / "root.squashfs")


def _build_system(to: Path, roots: Roots, dom0: Path) -> None:
    """Has none of the project's commands: packages bring them."""
    root = to / "root"
    run("cp", "-a", roots.system / "root", root)
    _without(root, SYSTEM_WITHOUT)
    _add_dom0(root, roots)
    shutil.copy2(dom0 / "ramdisk", root / "boot")  # for guests
    (root / "lab/init").symlink_to("/lib/systemd/systemd")
    _install("system-up", root / "lab/up")
    _install("guest-up", root / "lab/guest-up")
    _install("block-script", root / "etc/xen/scripts/block-lab")
    units = root / "etc/systemd/system"
    for unit in ("lab.service", "lab-up.service"):
        shutil.copy2(HERE / unit, units)
    run("systemctl", f"--root={root}", "enable", "lab.service")
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    # Networks keep the kernel's names.
    (root / "etc/systemd/network/99-default.link").symlink_to("/dev/null")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/hostname").write_text("dom0\n")
    run("chroot", root, "useradd", "--create-home", f"--uid={PERSON_UID}", PERSON)
    (root / "etc/pulse/default.pa.d/lab.pa").write_text(SPEAKERS)
    for updated in ("etc/.updated", "var/.updated"):  # nothing is to be made anew at boot
        (root / updated).touch()
    _squash(root, to / "system.squashfs")


def _add_dom0(root: Path, roots: Roots) -> None:
    """What dom0 has beside its packages."""
    run("cp", "-a", f"{roots.boot}/modules/lib/modules", root / "lib")
    (root / "boot").mkdir()
    shutil.copy2(roots.boot / "vmlinux", root / "boot")
    (root / "lab").mkdir()
    _install("dom0-up", root / "lab/dom0-up")
    _install("labd.py", root / "lab/labd.py")
    _install("vif-script", root / "etc/xen/scripts/vif-lab")


def _squash(root: Path, to: Path) -> None:
    run(
        *("mksquashfs", root, to, "-noappend", "-quiet", "-no-progress"),
        *("-comp", "lzo", "-Xcompression-level", "1"),
    )
    shutil.rmtree(root)


def _build_guest(to: Path, roots: Roots) -> None:
    root = to / "root"
    run("cp", "-a", roots.guest / "root", root)
    _without(root, GUEST_WITHOUT)
    _drop_unneeded_libraries(root)
    run("cp", "-a", f"{roots.boot}/modules/lib/modules", root / "lib")
    for directory in ("proc", "sys", "dev", "tmp", "run", "root", "lab", "var/lib"):
        (root / directory).mkdir(exist_ok=True)
    for name in ("passwd", "group"):  # no package's own scripts have run here
        shutil.copy2(roots.guest / f"root/usr/share/base-passwd/{name}.master", root / "etc" / name)
    with (root / "etc/passwd").open("a") as passwd:
        passwd.write("pulse:x:100:100::/run/pulse:/usr/sbin/nologin\n")
    run("ldconfig", "-r", root)
    for applet in output(root / "bin/busybox", "--list").split():
        if not any(
            (root / each / applet).is_symlink() or (root / each / applet).exists()
            for each in ("bin", "sbin", "usr/bin", "usr/sbin")
        ):
            (root / "bin" / applet).symlink_to("busybox")
    _install("guest-init", root / "init")
    _install("guest-up", root / "lab/guest-up")
    _install("labd.py", root / "lab/labd.py")
    _install_commands(root)
    # Without time stamps: a ramdisk's files have none that last.
    run(
        *("python3", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"),
        *("-s", root, root / "usr/lib/python3", root / "usr/lib/python3.11"),
    )
    pack(root, to / "ramdisk")
    shutil.rmtree(root)


def _install_commands(root: Path) -> None:
    _install("run-module", root / "lab/run-module")
    for command in ("xensnd-dom0", "xensnd-guest", "xensnd-policy"):
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (root / "usr/local/bin" / command).symlink_to("/lab/run-module")


def _install(name: str, to: Path) -> None:
    shutil.copyfile(HERE / name, to)
    to.chmod(0o755)


def _without(root: Path, paths: Sequence[str]) -> None:
    for path in paths:
        target = root / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def _drop_unneeded_libraries(root: Path) -> None:
    """Those that nothing names any more, directly or through others: most came with what went."""
    shared = root / "usr/lib/x86_64-linux-gnu"
    libraries = {path.name: path for path in shared.glob("lib*.so*")}
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    others = [path for path in files if path.parent != shared]
    wanted = set(TREE_NEEDS)
    looking = [path for path in others if path.read_bytes()[:4] == b"\x7fELF"]
    looking += [libraries[name] for name in TREE_NEEDS]
    while looking:
        shown = output("readelf", "--dynamic", "--wide", *looking)
        needed = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)\]", shown)) & {*libraries}
        looking = [libraries[name] for name in needed - wanted]
        wanted |= needed
    kept = {libraries[name].resolve() for name in wanted}
    for path in libraries.values():
        if path.resolve() not in kept:
            path.unlink()


if __name__ == "__main__":
    print(build_images(print))
