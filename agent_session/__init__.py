"""The session helper: shows a person's desktop what dom0's agent asks, and who records."""
