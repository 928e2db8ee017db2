"""Changes to policy files that keep all other text as it is."""
