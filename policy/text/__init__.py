"""YAML text with the location of each node, and the values that people write. No I/O."""
