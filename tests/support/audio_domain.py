"""xensnd-dom0 in an audio domain of a local machine: `python -m … NAME OPTION...`

On Xen an agent is in the domain in which it runs. Here it has to be told.
"""

from __future__ import annotations

import sys
from functools import partial
from unittest.mock import patch

from agent_dom0 import cli
from xensnd.transport.factory import open_transport

if __name__ == "__main__":
    here = partial(open_transport, domain=sys.argv[1])
    with patch.object(cli, "open_transport", here):
        sys.exit(cli.main(sys.argv[2:]))
