from __future__ import annotations

import re
from pathlib import Path

import pytest

from xensnd.errors import TransportLost, UsageError
from xensnd.transport import open_transport


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "transport '': known are local:DIR, xen:"),
        (
            "/run/xensnd",
            "transport '/run/xensnd': known are local:DIR, xen:; did you mean local:/run/xensnd?",
        ),
        ("tcp:host", "transport 'tcp:host': known are local:DIR, xen:"),
        ("local:", "transport 'local:': a directory is missing, as in local:/run/xensnd"),
        (
            "xen:",
            "/dev/xen/evtchn does not exist; is this a Xen domain? Without Xen, use local:DIR",
        ),
        ("xen:dom0", "transport 'xen:': accepts neither an address nor a domain"),
    ],
)
def test_url_that_opens_nothing_says_what_would(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        open_transport(url)


def test_directory_that_nobody_serves_says_how_to(tmp_path: Path) -> None:
    with pytest.raises(TransportLost, match=f"start it with: xensnd-localxen {tmp_path} serve"):
        open_transport(f"local:{tmp_path}")
