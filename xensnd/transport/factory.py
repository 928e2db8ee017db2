"""Opens a transport by its URL, as people give it to the agents."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from xensnd.errors import UsageError
from xensnd.text import quoted
from xensnd.transport.interface import Receiver, Transport


def add_transport_option(parser: argparse.ArgumentParser) -> None:
    """Add `--transport URL`, whose value is for open_transport()."""
    parser.add_argument(
        "--transport",
        default="xen:",
        metavar="URL",
        help="xen: (default), or local:DIR for a machine without Xen",
    )


def open_transport(url: str, domain: str | None = None) -> Transport:
    """Return the transport of `xen:`, or of `local:DIR` as the guest named `domain` (default:
    domain 0). UsageError: the URL is none of these, or its transport does not work here."""
    scheme, colon, rest = url.partition(":")
    opener = _OPENERS.get(scheme) if colon else None
    if not opener:
        raise _unknown(url)
    return opener(rest, domain)


def _unknown(url: str) -> UsageError:
    known = ", ".join(_FORMS)
    hint = f"; did you mean local:{url}?" if ":" not in url and url else ""
    return UsageError(f"transport {quoted(url)}: known are {known}{hint}")


def open_receiver(url: str) -> Receiver:
    """Return the receiver of what the transport of this URL hands over. UsageError: see above."""
    scheme, colon, _ = url.partition(":")
    if colon and scheme == "local":
        from xensnd.transport.local import LocalReceiver  # noqa: PLC0415

        return LocalReceiver()
    if colon and scheme == "xen":
        from xensnd.transport.xen import XenReceiver  # noqa: PLC0415

        return XenReceiver()
    raise _unknown(url)


def _open_local(directory: str, domain: str | None) -> Transport:
    from xensnd.transport.local import LocalTransport  # noqa: PLC0415  (as Xen's libraries will)

    if not directory:
        raise UsageError("transport 'local:': a directory is missing, as in local:/run/xensnd")
    return LocalTransport(Path(directory), domain)


def _open_xen(rest: str, domain: str | None) -> Transport:
    if rest or domain is not None:
        raise UsageError("transport 'xen:': accepts neither an address nor a domain")
    from xensnd.transport.xen import XenTransport  # noqa: PLC0415  (loads Xen's libraries)

    return XenTransport()


_OPENERS: dict[str, Callable[[str, str | None], Transport]] = {
    "local": _open_local,
    "xen": _open_xen,
}
_FORMS = ("local:DIR", "xen:")
