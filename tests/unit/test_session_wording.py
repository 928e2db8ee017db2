"""What notifications say of guests, whose names are text from elsewhere."""

from __future__ import annotations

import pytest

from agent_session.wording import quarantine, question, recording


def body(name: str) -> str:
    return question(name, 7, "capture", 30.0, lambda _key: None).body.splitlines()[0]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("work", "“work”"),
        ("<b>a</b>&amp;", "“&lt;b&gt;a&lt;/b&gt;&amp;amp;”"),
        ('a” "b', "“a&#x27; &#x27;b”"),
        ("a\n\x1b\u202eb", "“a\\n\\x1b\\u202eb”"),
        ("x" * 300, "“" + "x" * 64 + "…”"),
        ("", "“”"),
    ],
)
def test_name_stays_within_its_quotes(name: str, shown: str) -> None:
    assert body(name) == f"The guest {shown} (domain 7) wants to record from the microphone."


def test_name_is_never_in_the_summary() -> None:
    """Some desktops take markup there, too."""
    assert "work" not in question("work", 7, "playback", 30.0, lambda _key: None).summary
    assert "work" not in quarantine(["work"]).summary
    assert "work" not in recording(["work"]).summary + recording(["work", "web"]).summary


def test_notices_that_say_the_same_are_the_same() -> None:
    assert recording(["work"]) == recording(["work"])
    assert recording(["work"]) != recording(["web"])


def test_question_names_what_would_be_recorded() -> None:
    asked = question("work", 7, "capture", 30.0, lambda _key: None, "usb-<b>headset")
    assert "wants to record from the source “usb-&lt;b&gt;headset”." in asked.body
