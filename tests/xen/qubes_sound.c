/* The sound of a Qubes guest, over Xen's own libxenvchan, as a sound server there has it.
 *
 *     qubes-sound pulseaudio|pipewire DIRECTORY AUDIO_DOMID
 *
 * It has the habits of Qubes' module for that server: the sizes of its rings, what it says and
 * when, when it moves sound, and how it closes. What libvchan of Qubes adds to libxenvchan is here
 * too: the paths, that the nodes are removed when a client has come, and that a vchan without a
 * bound event channel counts as closed.
 *
 * In DIRECTORY are
 *     commands  a FIFO: a line for each thing that its applications do
 *     recorded  what they have recorded, which is appended
 * `play FILE` appends to what they play. What happens is a line on standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <libxenvchan.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenstore.h>

enum { PLAYBACK_PORT = 4713, CAPTURE_PORT = 4714 };
enum { OF_NO_USE = 128 }; /* octets of the ring that a module does not need */
enum { CYCLE_OCTETS = 4096, ERROR_OCTETS_MAX = 1024 }; /* of PipeWire's graph */
enum { DISCARDED_AT_ONCE = 2048, READ_AT_ONCE = 16384 };
static const double CYCLE_NSEC = 1e9 / 44100 * 1024;

static const uint32_t HELLO = 0x00010004;
static const uint32_t SOURCE[] = {0x00010000, 0x00010001}; /* stopped, started */
static const uint32_t SINK[] = {0x00020000, 0x00020001};   /* corked, uncorked */

struct habits {
    const char *name;
    size_t playback_octets, capture_octets; /* of the rings that carry sound */
    size_t fill_octets;                     /* how much of the playback ring it fills */
    bool is_one_unit; /* if one vchan closes, it closes both; and says nothing of itself */
};

static const struct habits HABITS[] = {
    {"pulseaudio", 8192, 8192, 8192, true},
    {"pipewire", 65536, 1 << 20, 8192, false},
};

struct side {
    int port;
    size_t left_octets, right_octets;
    struct libxenvchan *vchan;
    bool has_client, is_offered;
};

static const struct habits *habits;
static struct side playback = {.port = PLAYBACK_PORT}, capture = {.port = CAPTURE_PORT};
static int audio_domid, recorded_fd, played_fd = -1;
static xc_interface *hypervisor;
static bool plays, records, said_plays, said_records; /* as is, and as it was said */

static void tell(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- what libvchan adds --------------------------------------------------------------------- */

static void path_of(const struct side *side, char *path, size_t octets) {
    snprintf(path, octets, "data/vchan/%d/%d", audio_domid, side->port);
}

static void offer(struct side *side) {
    char path[64];
    path_of(side, path, sizeof path);
    side->vchan =
        libxenvchan_server_init(NULL, audio_domid, path, side->left_octets, side->right_octets);
    if (!side->vchan) fail(path);
    side->vchan->blocking = 1;
    side->has_client = false;
    side->is_offered = true;
    tell("offered %d", side->port);
}

/* The nodes go when the first event comes, and with the last one their directory. */
static void withdraw(struct side *side) {
    struct xs_handle *store = xs_open(0);
    char path[64], directory[32];
    unsigned int count = 1;
    if (!store) fail("XenStore");
    path_of(side, path, sizeof path);
    snprintf(directory, sizeof directory, "data/vchan/%d", audio_domid);
    xs_rm(store, XBT_NULL, path);
    free(xs_directory(store, XBT_NULL, directory, &count));
    if (count == 0) xs_rm(store, XBT_NULL, directory);
    xs_close(store);
    side->is_offered = false;
}

static void take_event(struct side *side) {
    if (libxenvchan_wait(side->vchan) < 0) fail("an event");
    if (side->is_offered) withdraw(side);
}

/* As long as no client has come, too. */
static bool is_open(const struct side *side) {
    xc_evtchn_status_t channel = {.dom = DOMID_SELF, .port = side->vchan->event_port};
    int live = libxenvchan_is_open(side->vchan);
    if (live != 1) return live != 0;
    return xc_evtchn_status(hypervisor, &channel) == 0 &&
           channel.status == EVTCHNSTAT_interdomain;
}

static void close_vchan(struct side *side) {
    libxenvchan_close(side->vchan); /* which removes the nodes, if they are there */
    side->vchan = NULL;
    tell("closed %d", side->port);
}

/* ---- control words -------------------------------------------------------------------------- */

static void say(const uint32_t *words, size_t count) {
    if (libxenvchan_send(capture.vchan, words, count * sizeof *words) < 0) tell("unsaid");
}

static void say_changes(void) {
    if (!habits->is_one_unit && !capture.has_client) return;
    if (plays != said_plays) say(&SINK[said_plays = plays], 1);
    if (records != said_records) say(&SOURCE[said_records = records], 1);
}

/* PipeWire's module says both states at once; its streams begin to run only then. */
static void greet(void) {
    const uint32_t words[] = {HELLO, SOURCE[0], SINK[0]};
    say(words, 3);
    said_plays = said_records = false;
}

static void notice_client(struct side *side) {
    if (side->has_client || libxenvchan_is_open(side->vchan) != 1) return;
    side->has_client = true;
    if (side == &capture && !habits->is_one_unit) greet();
    tell("connected %d", side->port);
}

/* ---- sound ---------------------------------------------------------------------------------- */

/* Fills it with what is played, and with silence after that. Returns the octets. */
static size_t next_octets(uint8_t *to, size_t octets) {
    ssize_t count = played_fd < 0 ? 0 : read(played_fd, to, octets);
    if (count < 0) fail("what is played");
    memset(to + count, 0, octets - (size_t)count);
    return octets;
}

static void play(void) {
    static uint8_t octets[65536];
    size_t size = (size_t)1 << playback.vchan->write.order;
    int space = libxenvchan_buffer_space(playback.vchan);
    if (!plays || space <= 0) return;
    size_t filled = size - (size_t)space;
    if (filled >= habits->fill_octets) return;
    size_t count = next_octets(octets, habits->fill_octets - filled);
    if (libxenvchan_write(playback.vchan, octets, count) < 0) tell("unplayed");
}

/* PipeWire's module records a cycle's worth, of silence if need be. */
static void record_cycle(void) {
    uint8_t octets[CYCLE_OCTETS] = {0};
    if (libxenvchan_data_ready(capture.vchan) > 0)
        libxenvchan_read(capture.vchan, octets, sizeof octets);
    if (write(recorded_fd, octets, sizeof octets) != sizeof octets) fail("recorded");
}

static void record(void) {
    static uint8_t octets[READ_AT_ONCE];
    int ready;
    while ((ready = libxenvchan_data_ready(capture.vchan)) > 0) {
        size_t most = records ? READ_AT_ONCE : DISCARDED_AT_ONCE;
        int count = libxenvchan_read(capture.vchan, octets, most);
        if (count <= 0) return;
        if (records && write(recorded_fd, octets, (size_t)count) != count) fail("recorded");
        if (!records && habits->is_one_unit) return; /* the rest when the next event comes */
    }
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void open_again(void) {
    bool is_playback_open = is_open(&playback), is_capture_open = is_open(&capture);
    if (is_playback_open && is_capture_open) return;
    if (!is_playback_open || habits->is_one_unit) close_vchan(&playback);
    if (!is_capture_open || habits->is_one_unit) close_vchan(&capture);
    if (!playback.vchan) offer(&playback);
    if (!capture.vchan) offer(&capture);
}

static void obey(char *command) {
    if (strncmp(command, "play ", 5) == 0) {
        if (played_fd >= 0) close(played_fd);
        played_fd = open(command + 5, O_RDONLY | O_CLOEXEC);
        if (played_fd < 0) fail(command + 5);
    } else if (strcmp(command, "cork") == 0 || strcmp(command, "uncork") == 0) {
        plays = command[0] == 'u';
    } else if (strcmp(command, "start") == 0 || strcmp(command, "stop") == 0) {
        records = command[2] == 'a';
    } else if (strcmp(command, "restart") == 0) { /* the sound server, that has nothing to do yet */
        close_vchan(&playback);
        close_vchan(&capture);
        said_records = records = false;
        said_plays = plays = habits->is_one_unit;
        offer(&playback);
        offer(&capture);
    } else if (strncmp(command, "move ", 5) == 0) { /* PipeWire's module is told of another domain */
        close_vchan(&playback);
        close_vchan(&capture);
        audio_domid = atoi(command + 5);
        offer(&playback);
        offer(&capture);
    } else if (strcmp(command, "quit") == 0) {
        close_vchan(&playback);
        close_vchan(&capture);
        exit(0);
    } else {
        fprintf(stderr, "no command: %s\n", command);
        exit(2);
    }
    say_changes();
    tell("%s", command);
}

static void read_commands(int fd) {
    char line[256] = "";
    ssize_t count = read(fd, line, sizeof line - 1);
    char *rest = NULL;
    if (count <= 0) return;
    for (char *each = strtok_r(line, "\n", &rest); each; each = strtok_r(NULL, "\n", &rest))
        obey(each);
}

static int cycles_fd = -1; /* of PipeWire's graph */
static double cycle_due_nsec;

static void await_cycle(void) {
    struct itimerspec due = {.it_value = {.tv_sec = (time_t)(cycle_due_nsec / 1e9)}};
    due.it_value.tv_nsec = (long)(cycle_due_nsec - 1e9 * (double)due.it_value.tv_sec);
    if (timerfd_settime(cycles_fd, TFD_TIMER_ABSTIME, &due, NULL) != 0) fail("a timer");
}

static void start_cycles(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    cycle_due_nsec = (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
    cycles_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (cycles_fd < 0) fail("a timer");
    await_cycle();
}

/* The next cycle comes later while less than it wants is recorded before this one, and earlier
 * while more is: the error is smoothed twice, and added up. */
static void follow_recording(void) {
    static double once, twice, sum;
    double error = records ? 8192.0 - libxenvchan_data_ready(capture.vchan) : 0;
    if (!records) once = twice = sum = 0;
    if (error > ERROR_OCTETS_MAX) error = ERROR_OCTETS_MAX;
    if (error < -ERROR_OCTETS_MAX) error = -ERROR_OCTETS_MAX;
    once += 0.0116 * (3.4e-6 * error - once);
    twice += 0.0116 * (once - twice);
    sum += 3.9e-4 * twice;
    cycle_due_nsec += CYCLE_NSEC / (1 - twice - sum);
    await_cycle();
}

static void run_cycle(void) {
    uint64_t count;
    if (read(cycles_fd, &count, sizeof count) != sizeof count) fail("a timer");
    follow_recording();
    play();
    if (records) record_cycle();
}

/* PulseAudio's module moves sound at each event, and PipeWire's in each cycle of the graph. */
static void serve(int commands_fd) {
    if (!habits->is_one_unit) start_cycles();
    for (;;) {
        open_again();
        if (habits->is_one_unit) play();
        if (habits->is_one_unit || !records) record();
        struct pollfd fds[] = {
            {.fd = libxenvchan_fd_for_select(playback.vchan), .events = POLLIN},
            {.fd = libxenvchan_fd_for_select(capture.vchan), .events = POLLIN},
            {.fd = commands_fd, .events = POLLIN},
            {.fd = cycles_fd, .events = POLLIN},
        };
        if (poll(fds, 4, -1) < 0) fail("poll");
        if (fds[0].revents) take_event(&playback);
        if (fds[1].revents) take_event(&capture);
        if (fds[3].revents) run_cycle();
        notice_client(&playback);
        notice_client(&capture);
        say_changes();
        if (fds[2].revents) read_commands(commands_fd);
    }
}

int main(int count, char **arguments) {
    for (size_t i = 0; count == 4 && i < sizeof HABITS / sizeof *HABITS; i++)
        if (strcmp(arguments[1], HABITS[i].name) == 0) habits = &HABITS[i];
    if (!habits || chdir(arguments[2]) != 0) {
        fprintf(stderr, "usage: qubes-sound pulseaudio|pipewire DIRECTORY AUDIO_DOMID\n");
        return 2;
    }
    audio_domid = atoi(arguments[3]);
    const struct sched_param urgent = {.sched_priority = 5}; /* as sound servers' threads are */
    if (sched_setscheduler(0, SCHED_RR, &urgent) != 0) fail("real time");
    hypervisor = xc_interface_open(NULL, NULL, 0);
    if (!hypervisor) fail("the hypervisor");
    recorded_fd = open("recorded", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    mkfifo("commands", 0600);
    int commands_fd = open("commands", O_RDWR | O_CLOEXEC);
    if (recorded_fd < 0 || commands_fd < 0) fail(arguments[2]);
    playback.left_octets = capture.right_octets = OF_NO_USE;
    playback.right_octets = habits->playback_octets;
    capture.left_octets = habits->capture_octets;
    plays = said_plays = habits->is_one_unit; /* an idle sink of PulseAudio gives silence */
    offer(&playback);
    offer(&capture);
    serve(commands_fd);
}
