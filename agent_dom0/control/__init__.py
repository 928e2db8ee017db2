"""The control socket, through which other programs use the running agent: docs/control.md."""
