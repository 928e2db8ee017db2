"""Reads policy files into rules, or into one error line that names file, line and column."""
