"""A process beside the agent that uses XenStore and Xen's devices for it, within rules.

The agent handles guests' octets. If a guest takes it over, it has no connection to XenStore but
that of this process, which passes on what an agent needs, and no pages and channels but those of
guests that use their card.
"""
