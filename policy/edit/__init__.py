"""Changes to policy files and grants. All other text in a file stays as it is."""
