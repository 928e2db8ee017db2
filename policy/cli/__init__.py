"""The command line: xensnd-policy."""
