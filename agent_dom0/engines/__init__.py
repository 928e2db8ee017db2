"""Where guests' rings are served: by one engine in the agent, or by one in a process a guest."""
