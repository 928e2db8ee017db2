"""A front: sound over vchan, as Qubes' guests have it without a change in them (docs/qubes.md)."""
