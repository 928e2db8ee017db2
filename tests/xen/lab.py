"""A real Xen in qemu: dom0 boots with it, guests come and go as tests want them.

    with Lab(build_images(print), directory) as lab:
        lab.dom0.do("xl", "info")
        with lab.guest("work") as guest:
            guest.do("aplay", "-l")

Emulated all the way (no KVM), on two processors. dom0 is reached over a forwarded port of this
machine's loopback, guests through dom0; see image/labd.py.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.support.cache import pack
from tests.xen.image.labd import PORT
from tests.xen.images import Images
from tests.xen.remote import Machine
from tests.xen.standstill import examine

ROOT = Path(__file__).parents[2]
TREE = ("xensnd", "agent_dom0", "agent_guest", "agent_session", "policy", "tests")
TREE_SUFFIXES = (".py", ".so", ".yaml")
TREE_IN_A_MACHINE = "opt/xensnd"

MEMORY_MIB = 6144
DOM0_MEMORY_MIB = 3072
GUEST_MEMORY_MIB = 512
BOOT_SECONDS = 150
GUEST_BOOT_SECONDS = 150
LAST_WORDS = 2000

# A test run that is killed, or hangs, leaves no emulator behind.
GUARD = ("setpriv", "--pdeathsig=TERM", "nice", "-n", "-10", "timeout", "--kill-after=5", "7200")

# dom0 has a processor for itself, since the sound is there; guests share the other one.
DOM0_PROCESSOR = "dom0_max_vcpus=1 dom0_vcpus_pin"
GUEST_PROCESSOR = 'cpus = "1"'

# Emulated, the TSC drifts from Xen's clock; a kernel would complain of that at any time.
LINUX = "console=hvc0 quiet panic=-1 tsc=nowatchdog"

# Linux 6.1 as PV dom0 dies of SMAP, as qemu 7.2 emulates it.
CPU = "max,-smap,-xsave"


class Lab:
    running: ClassVar[list[Lab]] = []  # of this run's machines, the latest is the last

    def __init__(self, images: Images, directory: Path, root: Path | None = None) -> None:
        """`directory` takes what belongs to this run; `root` is another for dom0."""
        self.directory = directory
        self.port = _free_port()  # of this machine, that leads to dom0's labd
        self.guests: list[XenGuest] = []
        self._images = images
        self._root = root or images.dom0_root
        self._qemu: subprocess.Popen[bytes] | None = None
        self._numbers = iter(range(1, 255))
        self._booted_at = 0  # of the serial log
        self.dom0 = Machine("dom0", self.port)

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        self.running.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.running.remove(self)
        self._end()

    @property
    def serial_log(self) -> str:
        """What Xen has said since dom0 came up."""
        return self._serial_log[self._booted_at :]

    @property
    def _serial_log(self) -> str:
        path = self.directory / "serial.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def give_up(self) -> str:
        """Ends a machine that stands still. What it had to say."""
        before = self.serial_log[-LAST_WORDS:]
        examined = examine(self.directory / "monitor", self.directory / "serial")
        self._end()
        return f"{before}\n{examined}"

    def guest(self, name: str, **options: Any) -> XenGuest:
        """A guest that runs while its block does: see XenGuest."""
        return XenGuest(self, name, next(self._numbers), **options)

    def _boot(self) -> None:
        tree = pack_tree(self.directory)
        guest_ramdisk = self.directory / "guest-ramdisk"
        with guest_ramdisk.open("wb") as whole:
            for part in (self._images.guest_ramdisk, tree):
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole, 1 << 20)
        with (self.directory / "qemu.log").open("wb") as qemu_log:
            self._qemu = subprocess.Popen(
                [*GUARD, *self._command(guest_ramdisk)],
                stdin=subprocess.DEVNULL,
                stdout=qemu_log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _put_first(self._qemu.pid)
        wait_until(
            lambda: self.dom0.is_up() or not self._is_running,
            BOOT_SECONDS,
            lambda: f"dom0 does not come up:\n{self._serial_log[-4000:]}",
        )
        if not self._is_running:
            log = (self.directory / "qemu.log").read_text(errors="replace")
            raise RuntimeError(f"qemu has ended:\n{log}\n{self._serial_log[-4000:]}")
        self._booted_at = len(self._serial_log)
        self.dom0.do("cpio", "-idm", "--quiet", "-D", "/", stdin=tree.read_bytes())

    @property
    def _is_running(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    def _command(self, guest_ramdisk: Path) -> Sequence[str]:
        memory = f"dom0_mem={DOM0_MEMORY_MIB}M,max:{DOM0_MEMORY_MIB}M"
        xen = f"console=com1 com1=115200,8n1 {memory} {DOM0_PROCESSOR} loglvl=warning"
        return [
            "qemu-system-x86_64",
            *("-accel", "tcg,thread=multi", "-cpu", CPU, "-machine", "q35"),
            *("-m", str(MEMORY_MIB), "-smp", "2", "-nodefaults", "-no-reboot"),
            *("-display", "none", "-serial", "chardev:serial"),
            *("-chardev", f"{self._socket('serial')},logfile={self.directory}/serial.log"),
            *("-mon", "monitor,mode=control", "-chardev", self._socket("monitor")),
            *("-kernel", str(self._images.xen), "-append", f"{xen} guest_loglvl=warning"),
            *("-initrd", f"{self._images.kernel} {LINUX},{self._images.dom0_ramdisk}"),
            *_drive(self._root),
            *_drive(guest_ramdisk),
            "-netdev",
            f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:{PORT}",
            *("-device", "virtio-net-pci,netdev=net,romfile="),
        ]

    def _socket(self, name: str) -> str:
        """One of qemu's character devices, as a socket in the run's directory."""
        return f"socket,id={name},path={self.directory}/{name},server=on,wait=off"

    def _end(self) -> None:
        """Nothing in the machine is worth keeping."""
        qemu, self._qemu = self._qemu, None
        if qemu is not None:
            with qemu:
                qemu.terminate()
                with suppress(subprocess.TimeoutExpired):
                    qemu.wait(10)
                qemu.kill()


class XenGuest(Machine):
    """A domU. In its block it runs, unless a test destroys it.

    `kind` is pv or pvh; `config` are more lines of xl.cfg, such as a `vsnd = [...]`.
    """

    def __init__(
        self,
        lab: Lab,
        name: str,
        number: int,
        *,
        kind: str = "pv",
        ramdisk: str = "/run/guest-ramdisk",
        config: str = "",
    ) -> None:
        super().__init__(name, lab.port, f"10.77.{number}.2")
        self.domid = -1
        self._lab = lab
        self._dom0 = lab.dom0
        self._config_path = f"/run/{name}.cfg"
        self._config = "\n".join(
            (
                f'name = "{name}"',
                f'type = "{kind}"',
                'kernel = "/boot/vmlinux"',
                f'ramdisk = "{ramdisk}"',
                f'extra = "{LINUX}"',
                f"memory = {GUEST_MEMORY_MIB}",
                "vcpus = 1",
                GUEST_PROCESSOR,
                'tsc_mode = "native"',  # or a PVH guest hangs
                'on_poweroff = "destroy"',
                'on_reboot = "destroy"',
                'on_crash = "destroy"',
                f'vif = [ "mac=00:16:3e:00:00:{number:02x},script=vif-lab" ]',
                config,
            )
        )

    def __enter__(self) -> Self:
        self.create()
        try:
            self.await_up()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.domid >= 0:
            self.destroy()

    def create(self) -> None:
        """Returns before its kernel is up."""
        self._dom0.write_file(self._config_path, self._config.encode())
        self._dom0.do("xl", "create", "-q", self._config_path)
        self.find()
        self._lab.guests.append(self)

    def find(self) -> int:
        """Its number, which changes when it is restored."""
        self.domid = int(self._dom0.do("xl", "domid", self.name))
        return self.domid

    def await_up(self) -> None:
        wait_until(
            self.is_up,
            GUEST_BOOT_SECONDS,
            lambda: f"{self.name} does not come up:\n{self.read_console()[-4000:]}",
        )

    def destroy(self) -> None:
        self.xl("destroy")
        self.domid = -1
        with suppress(ValueError):
            self._lab.guests.remove(self)

    def xl(self, command: str, *arguments: str, seconds: float = 60) -> str:
        """`guest.xl("pause")`"""
        return self._dom0.do("xl", command, self.name, *arguments, seconds=seconds)

    def read_console(self) -> str:
        """All that it has said on its console."""
        log = self._dom0.read_file(f"/var/log/xen/console/guest-{self.name}.log")
        return log.decode(errors="replace").replace("\r", "")


def wait_until(
    condition: Callable[[], Any], seconds: float, complaint: Callable[[], str], every: float = 0.1
) -> Any:
    """The condition's value once it holds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(complaint())
        time.sleep(every)
    return value


def pack_tree(directory: Path) -> Path:
    """The working tree as a ramdisk that can follow another one."""
    with tempfile.TemporaryDirectory(dir=directory) as staging:
        root = Path(staging, TREE_IN_A_MACHINE)
        for part in TREE:
            for path in (ROOT / part).rglob("*"):
                if path.suffix in TREE_SUFFIXES and path.is_file():
                    to = root / path.relative_to(ROOT)
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, to)
        # Compiled here, where that is quick; files of a ramdisk have no time stamps to trust.
        subprocess.run(
            [
                *("/usr/bin/python3", "-m", "compileall", "-q"),
                *("--invalidation-mode=unchecked-hash", "-s", staging, root),
            ],
            check=True,
        )
        tree = directory / "tree"
        pack(Path(staging), tree)
    return tree


def _drive(path: Path) -> Sequence[str]:
    name = path.name.replace(".", "-")
    return [
        "-drive",
        f"if=none,id={name},file={path},format=raw,readonly=on",
        "-device",
        f"virtio-blk-pci,drive={name}",
    ]


def _put_first(pid: int) -> None:
    """Where Linux shares processors out to sessions (sched_autogroup_enabled), a nice level counts
    within a session alone. So the emulator has a session of its own, and that one this level."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-20")


def _free_port() -> int:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return int(probing.getsockname()[1])
