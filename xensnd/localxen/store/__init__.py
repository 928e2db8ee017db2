"""The stand-in for XenStore: it answers as the C xenstored of Xen 4.17 does."""
