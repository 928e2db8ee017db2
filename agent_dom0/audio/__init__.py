"""A guest at dom0's audio server: its client, its streams, and their volume."""
