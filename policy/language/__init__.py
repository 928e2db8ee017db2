"""The language of policy files: from text to rules, and the files it is read from."""
