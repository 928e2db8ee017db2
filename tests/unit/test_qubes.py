"""What policy knows of qubes: the file that xensnd-qubes writes, and the rules to begin with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent_dom0.qubes.admin import AdminApi, QubesdSocket
from agent_dom0.qubes.identities import IdentityFollower, Qube, text_of
from policy.engine import decide
from policy.language import identities, platform
from policy.language.loader import parse
from policy.matching import GuestIdentity
from policy.model import Direction, Policy, Verb
from policy.paths import PolicyPaths
from xensnd.errors import PolicyError

QUBES = Path(__file__).parents[2] / "qubes"
FILE = Path("guests.yaml")
HEAD = "version: 1\nguests:\n"
SYSTEM = {
    "debian-12": Qube("TemplateVM", "black", "", ()),
    "work": Qube("AppVM", "blue", "debian-12", ("xensnd-ask", "created-by-dom0")),
    "1e3": Qube("AppVM", "red", "debian-12", ("xensnd-ask",)),  # YAML might take it for a number
    "mail": Qube("AppVM", "orange", "debian-12", ()),
    "sys-net": Qube("AppVM", "red", "debian-12", ()),
    "yellow-dvm": Qube("AppVM", "yellow", "debian-12", ()),
    "disp1": Qube("DispVM", "yellow", "yellow-dvm", ("xensnd-ask",)),
    "disp2": Qube("DispVM", "yellow", "not-shown", ()),
    "half": Qube("AppVM", None, None, None),
}


def known(system: dict[str, Qube] = SYSTEM) -> platform.PlatformFile:
    return platform.parse(text_of(system).encode(), FILE)


def test_what_is_written_of_qubes_is_what_policy_reads() -> None:
    tags = frozenset({"xensnd-ask", "created-by-dom0"})
    assert known().guest("work") == GuestIdentity(
        "work", None, "blue", tags, "AppVM", "debian-12", ""
    )
    assert known().guest("1e3", "some-uuid").uuid == "some-uuid"
    assert known({}).guest("work") == GuestIdentity("work")


def test_disposable_has_the_template_of_its_qube() -> None:
    disposable = known().guest("disp1")
    assert (disposable.template, disposable.dispvm_of) == ("debian-12", "yellow-dvm")
    hidden = known().guest("disp2")
    assert (hidden.template, hidden.dispvm_of) == (None, "not-shown")


def test_what_is_not_said_of_a_qube_is_not_known() -> None:
    assert known().guest("half") == GuestIdentity("half", qube_class="AppVM", dispvm_of="")
    assert known().guest("other") == GuestIdentity("other")


def test_tags_file_adds_tags_and_nothing_else() -> None:
    site = identities.parse(
        f"{HEAD}- {{guest: '*', label: red, tags: [calls]}}\n".encode(), Path("tags.yaml")
    )
    both = platform.PlatformAndSite(known(), site)
    assert both.guest("mail").tags == frozenset({"calls"})
    assert both.guest("mail").label == "orange"
    assert both.guest("half").tags is None
    assert both.guest("other") == GuestIdentity("other")


def test_nothing_is_known_while_the_file_is_missing_whatever_the_tags_file_says(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "policy.d"
    directory.mkdir()
    (tmp_path / "tags.yaml").write_text(f"{HEAD}- {{guest: '*', label: blue}}\n")
    found = platform.load(PolicyPaths([directory], platform=tmp_path / "gone.yaml"))
    assert found.guest("work") == GuestIdentity("work")
    assert platform.load(PolicyPaths([directory])).guest("work").label == "blue"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{class: AppVM}", "3:3: guest is missing (write guest: NAME)"),
        ("{guest: 'w*'}", "3:11: guest is not a name (write a name)"),
        ("{guest: w, label: a b}",
         "3:21: label: 'a b' may only have letters, digits, '_', '-' and '.' "
         "(write one word, or '' for none)"),
    ],
)  # fmt: skip
def test_mistake_in_the_file_is_reported(entry: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        platform.parse(f"{HEAD}- {entry}\n".encode(), FILE)
    assert str(caught.value) == f"guests.yaml:{message}"


def test_what_was_known_is_forgotten_when_qubesd_stays_away(tmp_path: Path) -> None:
    file = tmp_path / "guests.yaml"
    file.write_text(text_of(SYSTEM))

    async def follow() -> None:
        api = AdminApi(QubesdSocket(tmp_path / "none.sock"))
        task = asyncio.create_task(IdentityFollower(api, file, grace_seconds=0.05).run())
        while file.exists():
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(follow(), 10))


@pytest.mark.parametrize(
    ("guest", "capture", "playback"),
    [
        ("work", Verb.ASK, Verb.ALLOW),
        ("1e3", Verb.DENY, Verb.ASK),
        ("mail", Verb.DENY, Verb.ALLOW),
        ("sys-net", Verb.DENY, Verb.DENY),
        ("debian-12", Verb.DENY, Verb.DENY),
        ("yellow-dvm", Verb.DENY, Verb.ALLOW),
        ("disp1", Verb.DENY, Verb.ALLOW),
        ("half", Verb.DENY, Verb.DENY),  # it might be red
        ("unknown", Verb.DENY, Verb.DENY),
    ],
)
def test_rules_to_begin_with_decide(guest: str, capture: Verb, playback: Verb) -> None:
    files = (QUBES / "80-qubes.yaml", QUBES.parent / "policy/defaults/90-default.yaml")
    rules = tuple(rule for file in files for rule in parse(file.read_bytes(), file))
    policy, identity = Policy(rules, files), known().guest(guest)
    assert decide(policy, identity, Direction.CAPTURE).verb is capture
    assert decide(policy, identity, Direction.PLAYBACK).verb is playback
