#include "confine.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef NATIVE_ARCH

#define X32_BIT 0x40000000u /* of the number of a call of x86's other ABI */
#define LENGTH_MAX 256

/* Where the low half of an argument is, on a little-endian machine. The kernel itself looks at no
 * more of the arguments that are compared here. */
#define ARGUMENT(number) ((uint32_t)offsetof(struct seccomp_data, args[number]))

#define REFUSE (SECCOMP_RET_ERRNO | EPERM)

struct program {
    struct sock_filter code[LENGTH_MAX];
    unsigned short length;
};

/* Other processes, the kernel's own configuration, and calls that go past this filter. */
static const uint32_t REFUSED[] = {
#ifdef __NR_fork
    __NR_fork,
    __NR_vfork,
    __NR_mknod,
#endif
    __NR_execve,
    __NR_execveat,
    __NR_ptrace,
    __NR_process_vm_readv,
    __NR_process_vm_writev,
    __NR_kcmp,
    __NR_pidfd_getfd,
    __NR_pidfd_send_signal,
    __NR_tkill,
    __NR_rt_sigqueueinfo,
    __NR_rt_tgsigqueueinfo,
    __NR_setns,
    __NR_unshare,
    __NR_chroot,
    __NR_pivot_root,
    __NR_mount,
    __NR_umount2,
    __NR_open_tree,
    __NR_move_mount,
    __NR_fsopen,
    __NR_fsconfig,
    __NR_fsmount,
    __NR_mknodat,
    __NR_name_to_handle_at,
    __NR_open_by_handle_at,
    __NR_bpf,
    __NR_perf_event_open,
    __NR_userfaultfd,
    __NR_io_uring_setup,
    __NR_io_uring_enter,
    __NR_io_uring_register,
    __NR_add_key,
    __NR_request_key,
    __NR_keyctl,
    __NR_init_module,
    __NR_finit_module,
    __NR_delete_module,
    __NR_kexec_load,
    __NR_reboot,
    __NR_swapon,
    __NR_swapoff,
};

/* Of Python, libpulse and a libc: about the descriptor itself, or how much can be read. */
static const uint32_t HARMLESS_IOCTLS[] = {FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TCGETS};

static void add(struct program *to, struct sock_filter instruction) {
    if (to->length < LENGTH_MAX) to->code[to->length++] = instruction;
}

static void load(struct program *to, uint32_t offset) {
    add(to, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

static void end(struct program *to, uint32_t with) {
    add(to, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, with));
}

/* If what was loaded is this value, end so. */
static void end_if(struct program *to, uint32_t value, uint32_t with) {
    add(to, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    end(to, with);
}

/* The system call is allowed if its argument is one of the values, and refused otherwise. */
static void restrict_argument(struct program *to, uint32_t call, uint32_t argument,
                              const uint32_t *values, size_t count) {
    /* To the next call behind: a load, two instructions for each value, and the refusal. */
    uint8_t others = (uint8_t)(2 + 2 * count);
    add(to, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, others));
    load(to, ARGUMENT(argument));
    for (size_t each = 0; each < count; each++) end_if(to, values[each], SECCOMP_RET_ALLOW);
    end(to, REFUSE);
}

static void check_machine(struct program *to) {
    load(to, offsetof(struct seccomp_data, arch));
    add(to, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0));
    end(to, SECCOMP_RET_KILL_PROCESS);
    load(to, offsetof(struct seccomp_data, nr));
    add(to, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1));
    end(to, SECCOMP_RET_KILL_PROCESS);
}

/* Threads are started, processes are not. A libc that gets ENOSYS for clone3, whose flags are in
 * memory, uses clone. */
static void allow_threads(struct program *to) {
    end_if(to, __NR_clone3, SECCOMP_RET_ERRNO | ENOSYS);
    add(to, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 4));
    load(to, ARGUMENT(0));
    add(to, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1));
    end(to, SECCOMP_RET_ALLOW);
    end(to, REFUSE);
}

int xn_confine(const uint32_t *ioctls, size_t count, bool network) {
    static const uint32_t families[] = {AF_UNIX, AF_INET, AF_INET6};
    const size_t harmless = sizeof HARMLESS_IOCTLS / sizeof *HARMLESS_IOCTLS;
    const uint32_t us = (uint32_t)getpid(), itself = 0;
    uint32_t commands[sizeof HARMLESS_IOCTLS / sizeof *HARMLESS_IOCTLS + XN_IOCTLS_MAX];
    struct program filter = {.length = 0};

    if (count > XN_IOCTLS_MAX) return -E2BIG;
    for (size_t each = 0; each < harmless; each++) commands[each] = HARMLESS_IOCTLS[each];
    for (size_t each = 0; each < count; each++) commands[harmless + each] = ioctls[each];

    check_machine(&filter);
    restrict_argument(&filter, __NR_ioctl, 1, commands, harmless + count);
    restrict_argument(&filter, __NR_socket, 0, families, network ? 3 : 1);
    restrict_argument(&filter, __NR_kill, 0, &us, 1);
    restrict_argument(&filter, __NR_tgkill, 0, &us, 1);
    restrict_argument(&filter, __NR_prlimit64, 0, &itself, 1);
    allow_threads(&filter);
    for (size_t each = 0; each < sizeof REFUSED / sizeof *REFUSED; each++)
        end_if(&filter, REFUSED[each], REFUSE);
    end(&filter, SECCOMP_RET_ALLOW);
    if (filter.length >= LENGTH_MAX) return -E2BIG;

    struct sock_fprog program = {.len = filter.length, .filter = filter.code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

#else

int xn_confine(const uint32_t *ioctls, size_t count, bool network) {
    (void)ioctls, (void)count, (void)network;
    return -ENOTSUP;
}

#endif
