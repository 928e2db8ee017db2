"""A stand-in for Xen on one machine: hypervisor, XenStore and toolstack. Not packaged."""
