"""The wire of Xen's sndif, version 2: octets and XenStore text to frozen dataclasses, and back.

Pure: no I/O. Whatever a peer wrote either becomes a value of these types or raises
RemoteProtocolError, never anything else; what we ourselves get wrong raises LocalProtocolError.
The source is Xen's xen/io/sndif.h, called sndif.h throughout.
"""
