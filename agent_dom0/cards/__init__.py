"""The guests that run, their cards, and their streams."""
