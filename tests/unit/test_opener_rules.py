"""What an agent may ask of XenStore through its opener, and nothing else."""

from __future__ import annotations

import pytest
from pyxs._internal import Op

from agent_dom0.cards.device import DevicePath
from agent_dom0.cards.toolstack import backend_nodes, frontend_nodes
from agent_dom0.opener.rules import VsndRules
from xensnd.transport.xenstore import DIRECTORY_PART

US, GUEST, OTHER, GONE = 0, 7, 8, 9
RULES = VsndRules(US, lambda domid: domid in (GUEST, OTHER))
DEVICE = DevicePath(US, GUEST, 0)
BACKEND, FRONTEND = DEVICE.backend, DEVICE.frontend
RING = f"{FRONTEND}/0/0/ring-ref"
SECRETS = ["/local/domain/7/data/secret", "/local/domain/0/backend/vbd/7/0", "/vm/uuid/image", "/"]


def admits(op: int, *words: str) -> bool:
    is_value = op == Op.WRITE
    payload = "\0".join(words) + ("" if is_value else "\0")
    return RULES.admits(op, payload.encode("latin-1"))


@pytest.mark.parametrize("op", [Op.READ, Op.DIRECTORY, DIRECTORY_PART])
@pytest.mark.parametrize(
    "path",
    [
        "/local/domain",
        "/local/domain/7/name",
        "/local/domain/7/vm",
        "/vm/b7a5-1/label",
        "/local/domain/0/backend/vsnd",
        f"{BACKEND}/domain",
        "/local/domain/7/device/vsnd/0",
        RING,
    ],
)
def test_what_an_agent_needs_is_read(op: int, path: str) -> None:
    assert admits(op, path)


@pytest.mark.parametrize("op", [Op.READ, Op.DIRECTORY, Op.GET_PERMS, Op.WATCH, Op.RM, Op.MKDIR])
@pytest.mark.parametrize("path", [*SECRETS, "/local/domain/5/backend/vsnd", "name", "", "/vm"])
def test_nothing_else_is_read_watched_or_changed(op: int, path: str) -> None:
    assert not admits(op, path, "token")


VCHAN = "/local/domain/7/data/vchan/0/4713"


@pytest.mark.parametrize("node", ["ring-ref", "event-channel"])
@pytest.mark.parametrize("port", [4713, 4714])
def test_offers_of_vchans_of_sound_are_read_and_not_written(port: int, node: str) -> None:
    path = f"/local/domain/7/data/vchan/0/{port}/{node}"
    assert admits(Op.READ, path)
    assert admits(Op.WATCH, path, "token") is (node == "event-channel")
    for op in (Op.WRITE, Op.RM, Op.MKDIR, Op.SET_PERMS):
        assert not admits(op, path, "1")


@pytest.mark.parametrize(
    "path",
    [
        VCHAN,
        f"{VCHAN}/other",
        "/local/domain/7/data/vchan/0/4715/ring-ref",
        "/local/domain/7/data/vchan/0/47130/event-channel",
        "/local/domain/7/data/vchan/1/4713/event-channel",
        "/local/domain/7/data/vchan/0",
    ],
)
def test_other_vchans_are_neither_read_nor_watched(path: str) -> None:
    assert not admits(Op.READ, path)
    assert not admits(Op.DIRECTORY, path)
    assert not admits(Op.WATCH, path, "token")


@pytest.mark.parametrize(
    "path",
    [
        "@introduceDomain",
        "@releaseDomain",
        "/local/domain/0/backend/vsnd",
        "/local/domain/7/name",
        f"{FRONTEND}/state",
    ],
)
def test_what_an_agent_follows_is_watched(path: str) -> None:
    assert admits(Op.WATCH, path, "token")
    assert admits(Op.UNWATCH, path, "token")
    assert not admits(Op.WATCH, path, "t" * 200)


def test_both_halves_of_a_card_are_written_as_the_agent_writes_them() -> None:
    for directory, nodes, permissions in (
        (FRONTEND, frontend_nodes(DEVICE), ("n7", "r0")),
        (BACKEND, backend_nodes(DEVICE), ("n0", "r7")),
    ):
        assert admits(Op.RM, directory)
        assert admits(Op.MKDIR, directory)
        assert admits(Op.SET_PERMS, directory, *permissions)
        assert not admits(Op.SET_PERMS, directory, "b0")
        assert not admits(Op.SET_PERMS, directory, *permissions, "r8")
        for name, value in nodes.items():
            assert admits(Op.WRITE, f"{directory}/{name}", value)
            assert not admits(Op.WRITE, f"{directory}/{name}", f"{value}x")
            assert not admits(Op.MKDIR, f"{directory}/{name}")
            assert not admits(Op.SET_PERMS, f"{directory}/{name}", *permissions)


def test_backends_state_and_versions_are_written() -> None:
    assert all(admits(Op.WRITE, f"{BACKEND}/state", str(state)) for state in range(1, 7))
    assert not admits(Op.WRITE, f"{BACKEND}/state", "0")
    assert admits(Op.WRITE, f"{BACKEND}/versions", "1,2")
    assert admits(Op.WRITE, f"{BACKEND}/feature-capture-in-place", "1")
    assert not admits(Op.WRITE, f"{BACKEND}/feature-capture-in-place", "0")
    assert not admits(Op.WRITE, f"{FRONTEND}/state", "4")


@pytest.mark.parametrize("name", ["ring-ref", "event-channel", "evt-ring-ref", "evt-event-channel"])
def test_rings_are_published_by_the_guest_alone(name: str) -> None:
    assert not admits(Op.WRITE, f"{FRONTEND}/0/0/{name}", "1")


@pytest.mark.parametrize("domid", [US, GONE, 0x7FF0, 99999])
def test_only_guests_that_run_get_nodes(domid: int) -> None:
    device = DevicePath(US, domid, 0)
    for directory in (device.backend, device.frontend):
        assert not admits(Op.MKDIR, directory)
        assert not admits(Op.WRITE, f"{directory}/state", "1")


def test_card_of_a_guest_that_has_ended_is_removed() -> None:
    assert admits(Op.RM, f"/local/domain/0/backend/vsnd/{GONE}")
    assert not admits(Op.RM, f"/local/domain/0/backend/vsnd/{US}")
    assert not admits(Op.RM, "/local/domain/0/backend/vsnd")


@pytest.mark.parametrize(
    "op", [Op.CONTROL if hasattr(Op, "CONTROL") else 0, Op.INTRODUCE, Op.RELEASE, 19, 21, 99]
)
def test_toolstacks_requests_are_refused(op: int) -> None:
    assert not admits(op, "7")


@pytest.mark.parametrize(
    "path",
    [
        "/local/domain/7/device/vsnd/../../memory",
        "/local/domain/07/name",
        "/local/domain/7/name\n",
        "/local/domain/\u00b2/name",
        f"{BACKEND}//state",
        f"{BACKEND}/",
    ],
)
def test_paths_are_matched_whole(path: str) -> None:
    assert not admits(Op.READ, path)
    assert not admits(Op.WRITE, path, "1")


def test_request_without_a_path_is_refused() -> None:
    assert not RULES.admits(Op.READ, b"/local/domain")
    assert not RULES.admits(Op.READ, b"")
