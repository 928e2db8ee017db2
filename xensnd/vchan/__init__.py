"""Qubes' sound over vchan: what stands in the shared page, in XenStore, and in the control words.

Pure: no I/O. Whatever a guest wrote either becomes a value of these types or raises
RemoteProtocolError, never anything else. The sources are Xen's io/libxenvchan.h, called
libxenvchan.h throughout, and what Qubes' guests do (docs/qubes.md).

The guest is the server of its vchans, and the audio domain the client. It has two, one for each
direction, which are one unit: port 4713 carries playback, port 4714 recordings one way and control
words the other.
"""
