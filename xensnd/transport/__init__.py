"""Shared pages, event channels and XenStore: what connects two domains. interface.py defines it."""

from xensnd.transport.factory import open_transport

__all__ = ["open_transport"]
