"""The command xensnd-policy: its options, its commands, and what they print."""
