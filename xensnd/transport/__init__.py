"""How pages, event channels and XenStore cross between domains. See interface.py for the seam."""

from xensnd.transport.factory import open_transport

__all__ = ["open_transport"]
