/* A filter of system calls for a process that handles a guest's octets. It cannot be taken off. */
#ifndef XN_CONFINE_H
#define XN_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XN_IOCTLS_MAX 16

/* Confines the calling thread and all that it starts. From then on it starts no programs and no
 * processes, looks into no other process and signals none, makes sockets of the family AF_UNIX
 * alone (with `network`, of IP too), and does no ioctl but a few harmless ones and the given
 * commands. What is refused fails with EPERM. Returns 0, or a negative errno:
 * ENOTSUP on a machine whose system calls are not known here. */
int xn_confine(const uint32_t *ioctls, size_t count, bool network);

#endif
