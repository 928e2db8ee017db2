"""What the lab takes from Debian: the hypervisor, a kernel, and a root for dom0 and for guests.

Changes here cost two minutes and a half; images.py makes the rest of them, in a quarter of that.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.cache import Cache, output, run

SUITE = "bookworm"
XEN_PACKAGE = "xen-hypervisor-4.17-amd64"
KERNEL_META_PACKAGE = "linux-image-amd64"

DOM0_PACKAGES = (
    "xen-utils-4.17",
    "xenstore-utils",
    "busybox",
    "kmod",
    "iproute2",
    "procps",
    "cpio",
    "python3",
    "python3-pyxs",
    "python3-cffi-backend",
    "python3-yaml",
    "python3-pulsectl",
    "python3-systemd",
    "python3-pytest",
    "pulseaudio",
    "pulseaudio-utils",
)
# A machine where packages are installed: dom0, or a guest. What ours need is there, since the lab
# has no network.
SYSTEM_PACKAGES = (
    *DOM0_PACKAGES,
    "systemd-sysv",
    "libpam-systemd",
    "dbus-user-session",
    "alsa-utils",
)
GUEST_PACKAGES = (
    "base-files",
    "base-passwd",
    "busybox-static",
    "kmod",
    "xenstore-utils",
    "alsa-utils",
    "python3",
    "python3-pyxs",
    "python3-cffi-backend",
    "python3-yaml",
    "python3-pulsectl",
    "python3-systemd",
    "pulseaudio",
    "pulseaudio-utils",
    "pipewire",
    "pipewire-pulse",
    "wireplumber",
    "dbus-daemon",
    "libxengnttab1",
    "libxenevtchn1",
)
# With whatever they need. All images have all of them: they are small.
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "squashfs", "overlay"),
    *("xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs"),
    *("xen-netback", "xen-netfront", "xen-blkback", "xen-blkfront", "snd-xen-front"),
)


@dataclass(frozen=True, slots=True)
class Roots:
    """Directories. `boot` holds `xen`, `vmlinux` and `modules`; the others `root`."""

    boot: Path
    dom0: Path
    system: Path  # with systemd, and what packages of ours depend on
    guest: Path


def build_roots(cache: Cache) -> Roots:
    own = Path(__file__).read_text()
    return Roots(
        boot=cache.get("boot", [own], _build_boot),
        dom0=cache.get("dom0-root", [own], _build_dom0_root),
        system=cache.get("system-root", [own], _build_system_root),
        guest=cache.get("guest-root", [own], _build_guest_root),
    )


# The hypervisor, the kernel and its modules


def _build_boot(to: Path) -> None:
    with tempfile.TemporaryDirectory(dir=to) as directory:
        _download(Path(directory), [XEN_PACKAGE, _kernel_package()])
        unpacked = Path(directory, "unpacked")
        for package in Path(directory).glob("*.deb"):
            run("dpkg", "-x", package, unpacked)
        (hypervisor,) = unpacked.glob("boot/xen-*.gz")
        with (to / "xen").open("wb") as xen:
            subprocess.run(["zcat", hypervisor], stdout=xen, check=True)
        (kernel,) = unpacked.glob("boot/vmlinuz-*")
        (to / "vmlinux").write_bytes(_elf_of(kernel.read_bytes()))
        _pick_modules(unpacked, to / "modules")


def _kernel_package() -> str:
    depends = output("apt-cache", "depends", KERNEL_META_PACKAGE)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if not found:
        raise RuntimeError(f"{KERNEL_META_PACKAGE} depends on no kernel; apt-get update?")
    return found[1]


def _download(directory: Path, packages: Sequence[str]) -> None:
    directory.chmod(0o777)  # apt downloads as a user of its own
    run("env", f"--chdir={directory}", "apt-get", "download", "-q", *packages)


def _elf_of(bzimage: bytes) -> bytes:
    """Debian's kernels are packed with xz."""
    elf = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(bzimage[bzimage.index(b"\xfd7zXZ\0") :])
    assert elf.startswith(b"\x7fELF")
    return elf


def _pick_modules(unpacked: Path, to: Path) -> None:
    (version,) = (path.name for path in unpacked.glob("lib/modules/*"))
    run("depmod", "-b", unpacked, version)
    files: set[str] = set()
    for module in MODULES:
        shown = output("modprobe", "-d", unpacked, "-S", version, "--show-depends", module)
        files |= set(re.findall(r"^insmod \S+/(lib/modules/\S+)", shown, re.MULTILINE))
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        files.add(f"lib/modules/{version}/{name}")
    for file in files:
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(unpacked / file, to / file)
    run("depmod", "-b", to, version)


# The roots


def _build_dom0_root(to: Path) -> None:
    _debootstrap(to, "minbase", DOM0_PACKAGES)


def _build_system_root(to: Path) -> None:
    _debootstrap(to, "minbase", SYSTEM_PACKAGES)


def _build_guest_root(to: Path) -> None:
    _debootstrap(to, "extract", GUEST_PACKAGES)


def _debootstrap(to: Path, variant: str, packages: Sequence[str]) -> None:
    excluded = ("doc", "man", "locale", "info", "lintian", "fonts")
    sources = [
        path
        for pattern in ("sources.list", "sources.list.d/*.list", "sources.list.d/*.sources")
        for path in Path("/etc/apt").glob(pattern)
        if path.stat().st_size
    ]
    run(
        *("mmdebstrap", "--quiet", "--mode=root", f"--variant={variant}"),
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in excluded),
        f"--include={','.join(packages)}",
        SUITE,
        to / "root",
        *sources,
    )
