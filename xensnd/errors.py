"""The errors of xensnd. Their type says whose fault it is, and so what happens next."""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "AudioUnavailable",
    "LimitReached",
    "LocalProtocolError",
    "PolicyError",
    "RemoteProtocolError",
    "TransportLost",
    "UsageError",
    "XensndError",
]


class XensndError(Exception):
    """Anything this project raises on purpose. Its text is one line: who, what, got, allowed."""


class LocalProtocolError(XensndError):
    """We broke a rule of the protocol: a bug of ours. Crash loudly."""


class RemoteProtocolError(XensndError):
    """The peer broke a rule of the protocol: that session alone is closed and audited."""


class TransportLost(XensndError):
    """The hypervisor or XenStore is gone: wait and come back."""


class AudioUnavailable(XensndError):
    """The audio server is gone or refuses: wait and come back."""


class LimitReached(XensndError):
    """A guest has used up its share, or too little is left for all: wait, and try again later."""


class UsageError(XensndError):
    """A person asked for something that cannot be: one line that says what to do, exit status 2."""


class AccessDenied(XensndError):
    """Policy denies it."""


class PolicyError(AccessDenied):
    """The policy cannot be used, which is a denial. Its text starts with file:line:column."""
