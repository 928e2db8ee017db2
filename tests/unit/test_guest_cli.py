"""The command line of xensnd-guest, as far as it needs no card."""

from __future__ import annotations

import sys

import pytest

from agent_guest.cli import main


def test_serving_without_pulsectl_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pulsectl", None)
    for module in ("agent_guest.serve", "agent_guest.audio_server"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == (
        "xensnd-guest: import of pulsectl halted; None in sys.modules; "
        "`serve` needs python3-pulsectl: install it\n"
    )
