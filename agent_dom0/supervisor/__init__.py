"""Keeps an agent running: the next one takes over when one dies, hangs or is upgraded."""
