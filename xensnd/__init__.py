"""What both agents share: the wire (sndif), the way it crosses (transport), the samples (core)."""
