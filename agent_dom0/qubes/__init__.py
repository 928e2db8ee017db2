"""What Qubes OS keeps of microphones: its database, and the device dom0:mic."""
