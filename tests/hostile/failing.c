/* Lets calls of a process fail as they do when the machine has no more of something. Loaded with
 * LD_PRELOAD; the file that XENSND_FAILING names holds a struct failing, which a test writes.
 *
 * Memory is that of the core alone (_core*.so): where Python has none, it can do nothing either.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum kind { MEMORY, DESCRIPTORS, KINDS };

struct failing {
    struct {
        uint32_t countdown; /* 0: nothing fails; 1: the next call does, */
        uint32_t times;     /* and so do those after it, so many in all */
        uint32_t failed;
    } of[KINDS];
};

static struct failing *shared;

/* glibc's own, since dlsym() itself wants memory. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("XENSND_FAILING");
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    void *(*real_mmap)(void *, size_t, int, int, int, off_t) =
        (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
    int fd = path ? real(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = real_mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) shared = at;
}

static int is_armed(enum kind kind) {
    return shared && __atomic_load_n(&shared->of[kind].countdown, __ATOMIC_RELAXED);
}

static int fails(enum kind kind, int error) {
    if (!is_armed(kind)) return 0;
    uint32_t left = __atomic_load_n(&shared->of[kind].countdown, __ATOMIC_RELAXED);
    if (left > 1) {
        __atomic_store_n(&shared->of[kind].countdown, left - 1, __ATOMIC_RELAXED);
        return 0;
    }
    uint32_t failed = __atomic_add_fetch(&shared->of[kind].failed, 1, __ATOMIC_RELAXED);
    if (failed >= shared->of[kind].times)
        __atomic_store_n(&shared->of[kind].countdown, 0, __ATOMIC_RELAXED);
    errno = error;
    return 1;
}

static int is_of(const void *caller, const char *library) {
    Dl_info info;
    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, library);
}

static int is_of_core(const void *caller) { return is_of(caller, "/_core."); }

void *malloc(size_t size) {
    if (is_armed(MEMORY) && is_of_core(__builtin_return_address(0)) && fails(MEMORY, ENOMEM))
        return NULL;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    if (is_armed(MEMORY) && is_of_core(__builtin_return_address(0)) && fails(MEMORY, ENOMEM))
        return NULL;
    return __libc_calloc(count, size);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_of(flags, arguments); \
        va_end(arguments); \
        return fails(DESCRIPTORS, EMFILE) ? -1 : real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_of(flags, arguments); \
        va_end(arguments); \
        return fails(DESCRIPTORS, EMFILE) ? -1 : real(at, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int socket(int domain, int type, int protocol) {
    REAL(socket);
    return fails(DESCRIPTORS, EMFILE) ? -1 : real(domain, type, protocol);
}

int eventfd(unsigned count, int flags) {
    static int (*real)(unsigned, int);
    if (!real) real = (int (*)(unsigned, int))dlsym(RTLD_NEXT, "eventfd");
    return fails(DESCRIPTORS, EMFILE) ? -1 : real(count, flags);
}

int memfd_create(const char *name, unsigned flags) {
    static int (*real)(const char *, unsigned);
    if (!real) real = (int (*)(const char *, unsigned))dlsym(RTLD_NEXT, "memfd_create");
    return fails(DESCRIPTORS, EMFILE) ? -1 : real(name, flags);
}

/* Without a pipe for its main loop, libpulse ends the process. So the mixer makes sure of free
 * descriptors before it has one made; tests/unit/test_dom0_lacks.py shows that. */
int pipe2(int ends[2], int flags) {
    static int (*real)(int[2], int);
    if (!real) real = (int (*)(int[2], int))dlsym(RTLD_NEXT, "pipe2");
    if (is_of(__builtin_return_address(0), "/libpulse")) return real(ends, flags);
    return fails(DESCRIPTORS, EMFILE) ? -1 : real(ends, flags);
}

/* What comes with a message is lost at the limit, and the message is not. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    REAL(recvmsg);
    if (message->msg_controllen && fails(DESCRIPTORS, EMFILE)) message->msg_controllen = 0;
    return real(fd, message, flags);
}

#define MAPS(name, offset_type) \
    void *name(void *at, size_t size, int rights, int flags, int fd, offset_type offset) { \
        REAL(name); \
        if (fd >= 0 && fails(DESCRIPTORS, ENOMEM)) return MAP_FAILED; \
        return real(at, size, rights, flags, fd, offset); \
    }
MAPS(mmap, off_t)
MAPS(mmap64, off64_t)
