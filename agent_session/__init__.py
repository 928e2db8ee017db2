"""The session helper: shows on a person's desktop what dom0's agent asks, and who records.

`session` follows the agent and answers it, `notifications` shows notices on the desktop through
`bus`, and `wording` is what they say. `pacat` is a program of its own, xensnd-pacat, which
registers a Qubes guest with the agent.
"""
