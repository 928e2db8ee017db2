"""One boot of the lab serves all cases of a run; each module has an agent, and a guest, of its own.

A case that fails shows what its machines have to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.xen.dom0 import ALLOW_PLAYBACK, PATIENT, Agent, Pulse
from tests.xen.guest import load_driver
from tests.xen.images import build_images
from tests.xen.lab import Lab, XenGuest
from tests.xen.remote import Machine
from tests.xen.standstill import Standstill, works
from tests.xen.traces import gives_all_back, no_complaints

CASE_SECONDS = 600  # the images are built within the first case's
TAIL_LINES = 100

_pulse = pytest.StashKey[Pulse]()
_agent = pytest.StashKey[Agent]()
_standstill = pytest.StashKey[Standstill]()


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        images = build_images(lambda text: print(f"\n{text}", end="", flush=True))
    with Lab(images, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def dom0(lab: Lab) -> Machine:
    return lab.dom0


@pytest.fixture(scope="module")
def pulse(request: pytest.FixtureRequest, dom0: Machine) -> Iterator[Pulse]:
    with Pulse(dom0) as pulse:
        request.config.stash[_pulse] = pulse
        yield pulse


@pytest.fixture(autouse=True)
def pulse_runs(request: pytest.FixtureRequest) -> None:
    """The end of a server fails the case in which it ended, and not all that come after it."""
    pulse = request.config.stash.get(_pulse, None)
    if pulse is not None and pulse.has_ended:
        print(f"PulseAudio had ended by itself before this case: {pulse.log}")
        pulse.stop()
        pulse.start()


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(dom0: Machine) -> Iterator[None]:
    """When a module's cases are over and its guests have gone."""
    with no_complaints(dom0):
        yield


@pytest.fixture(scope="module")
def agent(request: pytest.FixtureRequest, dom0: Machine, pulse: Pulse) -> Iterator[Agent]:
    """With the policy that the module names as POLICY, or: all may play, nobody may record. OPTIONS
    of the module are for xensnd-dom0, besides what it always gets."""
    policy = getattr(request.module, "POLICY", ALLOW_PLAYBACK)
    options = [PATIENT, *getattr(request.module, "OPTIONS", ())]
    with Agent(dom0, pulse, *options, policy=policy) as agent, gives_all_back(agent):
        request.config.stash[_agent] = agent
        yield agent
        assert "Traceback" not in agent.log


@pytest.fixture(scope="module")
def guest(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the card)
    """A guest "work", with the stock driver and its card."""
    with lab.guest("work") as guest:
        load_driver(guest)
        yield guest


@pytest.fixture
def deaths_are_forgotten(agent: Agent) -> Iterator[None]:
    """A guest is not served for a while when what served it died twice. So a case that kills an
    agent, or its rerun, leaves no death to the next one."""
    yield
    agent.forget_deaths()


@pytest.fixture
def new_guest(lab: Lab) -> Iterator[Callable[..., XenGuest]]:
    """`new_guest("personal")`: a domain that is there until the case ends."""
    with ExitStack() as stack:

        def create(name: str, **options: Any) -> XenGuest:
            return stack.enter_context(lab.guest(name, **options))

        yield create


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--go-on-at",
        metavar="FILE",
        type=Path,
        help="the module in which the machine stands still is written there; the next run begins "
        "with the one that it finds there",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_standstill] = Standstill(config.getoption("--go-on-at", None))
    config.pluginmanager.register(config.stash[_standstill])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(CASE_SECONDS))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A case that is run once more gets another agent: the first may be what failed."""
    agent = item.config.stash.get(_agent, None)
    if getattr(item, "execution_count", 1) > 1 and agent is not None and agent.is_running:
        agent.restart()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    if not report.failed or not Lab.running:
        return
    lab = Lab.running[-1]
    if works(lab.dom0):
        report.sections += _testimony(lab, item.config.stash)
    else:
        item.config.stash[_standstill].end(lab, item)


def _testimony(lab: Lab, stash: pytest.Stash) -> list[tuple[str, str]]:
    """What explains a failure: consoles, logs, and the devices' nodes."""
    readers: dict[str, Callable[[], str]] = {
        f"console of {guest.name}": guest.read_console for guest in lab.guests
    }
    if (agent := stash.get(_agent, None)) is not None:
        readers["log of xensnd-dom0"] = lambda: agent.log
        readers["where xensnd-dom0 is"] = agent.show_where
        readers["audit trail"] = lambda: agent.trail
    if (pulse := stash.get(_pulse, None)) is not None:
        readers["PulseAudio"] = lambda: pulse.log
    readers["XenStore"] = lambda: _device_nodes(lab)
    readers["dom0's kernel"] = lambda: lab.dom0.do("dmesg", "--level=emerg,alert,crit,err,warn")
    readers["Xen"] = lambda: lab.serial_log
    return [(title, _tail(read)) for title, read in readers.items()]


def _device_nodes(lab: Lab) -> str:
    paths = ["/local/domain/0/backend/vsnd"]
    paths += [f"/local/domain/{guest.domid}/device/vsnd" for guest in lab.guests]
    return "".join(lab.dom0.run("xenstore-ls", "-fp", path).output for path in paths)


def _tail(read: Callable[[], str]) -> str:
    try:
        return "\n".join(read().splitlines()[-TAIL_LINES:])
    except Exception as error:  # the lab itself may be what failed
        return f"(cannot be read: {error})"
