"""From policy files on disk to rules, or to one error line that names file, line and column."""
