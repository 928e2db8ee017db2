"""What other programs ask of the running agent, over a unix socket: docs/control.md."""
