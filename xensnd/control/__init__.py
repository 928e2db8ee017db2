"""How programs talk with the running agent: docs/control.md."""
