/*
 * Debian's real xenstored on a machine without Xen: LD_PRELOAD stands in for the calls it makes to
 * libxenctrl, libxengnttab and libxenevtchn (4.17 to 4.20), and for /proc/xen/xsd_port and xsd_kva.
 *
 * The hypervisor is the directory $XENSTORED_WITHOUT_XEN:
 *   domN/         exists while domain N does
 *   domN/ring     the page of domain N's XenStore ring (struct xenstore_domain_interface)
 *   evtchn        datagram socket of xenstored's own event channels: a message is a port, 32 bits
 *   domN/evtchn   datagram socket of domain N: a message means that xenstored notified it
 *
 * So a test can be a guest, with a guest's rights. Build: gcc -shared -fPIC -o shim.so this.c
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#define PAGE_OCTETS 4096
#define VIRQ_PORT 1
#define FIRST_DOMAIN_PORT 16 /* the port to domain N is FIRST_DOMAIN_PORT + N */

static int handle; /* every library handle points here: nothing is kept in it */
static int events = -1;

static const char *in_directory(char *buffer, size_t octets, const char *format, unsigned domid)
{
    int used = snprintf(buffer, octets, "%s/", getenv("XENSTORED_WITHOUT_XEN"));
    snprintf(buffer + used, octets - used, format, domid);
    return buffer;
}

static struct sockaddr_un address(const char *format, unsigned domid)
{
    struct sockaddr_un result = { .sun_family = AF_UNIX };
    in_directory(result.sun_path, sizeof result.sun_path, format, domid);
    return result;
}

/* libxenctrl: which domains there are */

xc_interface *xc_interface_open(xentoollog_logger *a, xentoollog_logger *b, unsigned flags)
{
    return (xc_interface *)&handle;
}

int xc_interface_close(xc_interface *xch)
{
    return 0;
}

static bool exists(uint32_t domid)
{
    char path[PATH_MAX];

    return domid == 0 || access(in_directory(path, sizeof path, "dom%u", domid), F_OK) == 0;
}

#if XEN_DOMCTL_INTERFACE_VERSION <= 0x15 /* up to Xen 4.17 */
int xc_domain_getinfo(xc_interface *xch, uint32_t first, unsigned max, xc_dominfo_t *info)
{
    memset(info, 0, sizeof *info);
    info->domid = first;
    return exists(first);
}
#else
int xc_domain_getinfo_single(xc_interface *xch, uint32_t domid, xc_domaininfo_t *info)
{
    memset(info, 0, sizeof *info);
    info->domain = domid;
    errno = ESRCH;
    return exists(domid) ? 0 : -1;
}
#endif

/* libxengnttab: only the page of a domain's ring is ever mapped */

xengnttab_handle *xengnttab_open(xentoollog_logger *logger, unsigned flags)
{
    return (xengnttab_handle *)&handle;
}

int xengnttab_close(xengnttab_handle *xgt)
{
    return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t count)
{
    return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
    char path[PATH_MAX];
    void *page = MAP_FAILED;
    int fd;

    if (access(in_directory(path, sizeof path, "dom%u", domid), F_OK) < 0) {
        errno = EINVAL; /* as the kernel's gntdev answers for a domain that is not there */
        return NULL;
    }
    fd = open(in_directory(path, sizeof path, "dom%u/ring", domid), O_RDWR | O_CREAT, 0600);
    if (fd >= 0 && ftruncate(fd, PAGE_OCTETS) == 0)
        page = mmap(NULL, PAGE_OCTETS, prot, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(xengnttab_handle *xgt, void *start, uint32_t count)
{
    return munmap(start, (size_t)count * PAGE_OCTETS);
}

/* libxenevtchn: datagrams */

xenevtchn_handle *xenevtchn_open(xentoollog_logger *logger, unsigned flags)
{
    struct sockaddr_un own = address("evtchn", 0);

    events = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    unlink(own.sun_path);
    return bind(events, (struct sockaddr *)&own, sizeof own) < 0 ? NULL : (xenevtchn_handle *)&handle;
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    return events;
}

int xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned virq)
{
    return VIRQ_PORT;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid,
                                                     evtchn_port_t remote_port)
{
    return FIRST_DOMAIN_PORT + domid;
}

int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    struct sockaddr_un guest = address("dom%u/evtchn", port - FIRST_DOMAIN_PORT);

    /* A guest that is not there, or does not look, loses nothing but the notification. */
    sendto(events, &port, sizeof port, 0, (struct sockaddr *)&guest, sizeof guest);
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    evtchn_port_t port;

    return recv(events, &port, sizeof port, 0) == sizeof port ? (xenevtchn_port_or_error_t)port : -1;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

/* What xenstored asks of the kernel */

static const char *without_proc_xen(const char *path, char *buffer, size_t octets)
{
    static const char prefix[] = "/proc/xen/";

    if (strncmp(path, prefix, strlen(prefix)) != 0)
        return path;
    return in_directory(buffer, octets, path + strlen(prefix), 0);
}

int open(const char *path, int flags, ...)
{
    char buffer[PATH_MAX];
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return openat(AT_FDCWD, without_proc_xen(path, buffer, sizeof buffer), flags, mode);
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return 0; /* it wants more files than a container may have */
}
