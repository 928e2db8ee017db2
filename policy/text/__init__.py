"""YAML text, its places, and values as people write them."""
