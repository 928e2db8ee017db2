"""What the documents say is what the code does."""

from __future__ import annotations

from pathlib import Path

from agent_dom0.events import EventKind
from xensnd.sndif.states import BACKEND_TABLE, FRONTEND_TABLE, STREAM_TABLE, to_mermaid

DOCS = Path(__file__).parents[2] / "docs"


def test_every_event_stands_in_the_audit_document_with_its_id() -> None:
    rows = [
        line.split("|")[1:3]
        for line in (DOCS / "audit.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    documented = {name.strip(" `"): message_id.strip(" `") for name, message_id in rows}
    assert documented == {kind.name.lower(): kind.value for kind in EventKind}


def test_the_state_diagrams_are_those_of_the_tables() -> None:
    states = (DOCS / "states.md").read_text()
    for diagram in (
        to_mermaid(BACKEND_TABLE),
        to_mermaid(FRONTEND_TABLE),
        to_mermaid(STREAM_TABLE),
    ):
        assert diagram in states, "run: python -m tools.draw_states > docs/states.md"
