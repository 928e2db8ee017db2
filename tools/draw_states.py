"""Draws docs/states.md from the tables that the agents follow."""

from __future__ import annotations

from xensnd.sndif.states import BACKEND_TABLE, FRONTEND_TABLE, STREAM_TABLE, to_mermaid

HEAD = """# The state machines

Drawn from the tables in `xensnd/sndif/states.py` by `python -m tools.draw_states`.
"""


def main() -> None:
    print(HEAD)
    for title, diagram in (
        ("The backend: a device as dom0 sees it", to_mermaid(BACKEND_TABLE)),
        ("The frontend: a device as the guest agent sees it", to_mermaid(FRONTEND_TABLE)),
        ("A PCM stream", to_mermaid(STREAM_TABLE)),
    ):
        print(f"## {title}\n\n```mermaid\n{diagram}```\n")


if __name__ == "__main__":
    main()
