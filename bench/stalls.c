/* Which processors did not run even what comes first of all, and when: taken by the host, or held by
 * the kernel.
 *
 *   stalls LOG
 *
 * A thread on each processor sleeps for a millisecond, again and again. For each time that it woke
 * more than two milliseconds late LOG gets two 64-bit words: CLOCK_MONOTONIC in ns when it was due,
 * and when it woke. It ends when it is killed, and at once if it may not be real-time.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PRIORITY 10 /* above the audio server's */
#define PERIOD_NSEC 1000000
#define LATE_NSEC 2000000

static int64_t now_nsec(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *watch(void *log) {
    for (int64_t due = now_nsec() + PERIOD_NSEC;; due += PERIOD_NSEC) {
        struct timespec until = {due / 1000000000, due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        int64_t woke = now_nsec();
        if (woke - due < LATE_NSEC) continue;
        int64_t stall[] = {due, woke};
        if (fwrite(stall, sizeof stall, 1, log) != 1) exit(1);
        due = woke;
    }
}

int main(int argc, char **argv) {
    FILE *log = argc == 2 ? fopen(argv[1], "wb") : NULL;
    if (!log) return 2;
    setbuf(log, NULL);
    const struct sched_param first = {.sched_priority = PRIORITY};
    if (sched_setscheduler(0, SCHED_FIFO, &first)) return 1;
    cpu_set_t ours;
    sched_getaffinity(0, sizeof ours, &ours);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &ours)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
        pthread_t thread;
        if (pthread_create(&thread, &attributes, watch, log)) return 1;
    }
    pause();
}
