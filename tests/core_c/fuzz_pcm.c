/* A PCM of any shape, a frontend that writes anywhere, an audio server that comes, goes and says
 * anything, and a clock that jumps: what pcm.h promises holds after each step, and nothing outside
 * the buffer is touched. Of a PCM that was adopted from a process that left nonsense, only the
 * latter is asked.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "pcm.h"

static struct xn_pcm pcm;
static bool is_nonsense;
static int64_t now_usec;

/* The end of a period may be reported by a quarter of it, and by 1.25 ms, early; and the position
 * may return by 50 ms. */
static bool has_returned;

static uint64_t early_octets(void) {
    if (has_returned) return (uint64_t)pcm.config.rate_hz / 20 * pcm.config.frame_octets;
    uint64_t quarter = pcm.config.period_octets / 4, most = pcm.config.rate_hz / 800u;
    most *= pcm.config.frame_octets;
    return quarter < most ? quarter : most;
}

static uint64_t known_position(void) {
    return pcm.reported > pcm.position ? pcm.reported : pcm.position;
}

static void require_order(const struct xn_pcm *before) {
    if (is_nonsense) return;
    REQUIRE(pcm.position >= before->position);
    REQUIRE(pcm.reported >= before->reported && pcm.reported <= pcm.position + early_octets());
    REQUIRE(pcm.position % pcm.config.frame_octets == 0);
    REQUIRE(pcm.reported % pcm.config.frame_octets == 0);
    REQUIRE(!pcm.report_now || pcm.config.period_octets);
}

static void require_playback_order(const struct xn_pcm *before) {
    uint32_t size = pcm.config.buffer_octets, period = pcm.config.period_octets;
    REQUIRE(pcm.taken <= pcm.written && pcm.written - pcm.taken <= size);
    require_order(before);
    if (is_nonsense) return;
    REQUIRE(pcm.written <= known_position() + size);
    REQUIRE(pcm.position <= pcm.taken + period);
    REQUIRE(xn_pcm_available(&pcm) <= size);
}

static void tell(uint32_t most, bool playback) {
    uint64_t (*report)(const struct xn_pcm *) =
        playback ? xn_pcm_playback_report : xn_pcm_capture_report;
    for (uint64_t position; most-- && (position = report(&pcm)) != 0;) {
        REQUIRE(is_nonsense || position > pcm.reported);
        REQUIRE(is_nonsense || position <= pcm.position + early_octets());
        REQUIRE(position - pcm.reported < pcm.config.buffer_octets);
        xn_pcm_reported(&pcm, position);
    }
}

/* Whole frames, up to two buffers. */
static uint32_t some_octets(struct fuzz_input *input) {
    uint32_t frame = pcm.config.frame_octets;
    return fuzz_u16(input) % (2 * pcm.config.buffer_octets / frame + 1) * frame;
}

static void write_somewhere(struct fuzz_input *input) {
    uint32_t frame = pcm.config.frame_octets, size = pcm.config.buffer_octets;
    uint32_t offset = fuzz_u16(input) * frame, octets = fuzz_u16(input) * frame;
    if (offset % 3 == 0) offset = (uint32_t)(pcm.written % size);
    if (!xn_pcm_in_buffer(&pcm, offset, octets)) return;
    REQUIRE(offset + octets <= size);
    xn_pcm_wrote(&pcm, offset, octets);
}

static void take_some(struct fuzz_input *input) {
    uint32_t available = xn_pcm_available(&pcm), wanted = some_octets(input);
    uint32_t count = wanted < available ? wanted : available;
    void *to = malloc(count);
    REQUIRE(to || !count);
    if (count) xn_pcm_take(&pcm, to, count);
    free(to);
}

static void take_back(void) {
    uint64_t before = pcm.taken;
    uint32_t octets = xn_pcm_rewritten(&pcm);
    (void)xn_pcm_take_back(&pcm);
    REQUIRE(octets <= pcm.config.buffer_octets && pcm.taken == before - octets);
    REQUIRE(!octets || pcm.taken >= pcm.position);
    REQUIRE(xn_pcm_rewritten(&pcm) == 0);
}

static void return_to_rewritten(struct xn_pcm *before) {
    if (pcm.rewritten == XN_NOT_REWRITTEN) return;
    xn_pcm_return_to(&pcm, pcm.rewritten, now_usec);
    has_returned = true;
    REQUIRE(pcm.position <= before->position && xn_pcm_rewritten(&pcm) == 0);
    before->position = pcm.position;
}

/* From anywhere, for any length: what a guest makes of its positions reaches this. */
static void look_for_silence(struct fuzz_input *input) {
    const uint64_t from[] = {pcm.position, pcm.taken, pcm.written, pcm.rewritten, pcm.heard};
    uint64_t position = from[fuzz_u8(input) % 5] - fuzz_u16(input) * pcm.config.frame_octets;
    uint32_t octets = fuzz_u32(input);
    if (!xn_pcm_is_silent(&pcm, position, octets)) return;
    REQUIRE(xn_pcm_is_silent(&pcm, position, octets / 2));
}

static void playback_step(struct fuzz_input *input, uint32_t step, struct xn_pcm *before) {
    uint64_t heard = pcm.taken;
    switch (step % 10) {
    case 0:
    case 1:
        write_somewhere(input);
        break;
    case 2:
        take_some(input);
        break;
    case 3:
        if (!pcm.running) break;
        heard -= fuzz_u16(input) * (uint64_t)pcm.config.frame_octets;
        if (heard > pcm.taken) heard = 0;
        xn_pcm_advance_playback(&pcm, now_usec, &heard, false);
        break;
    case 4:
        if (pcm.running) xn_pcm_advance_playback(&pcm, now_usec, NULL, true);
        break;
    case 5:
        xn_pcm_hold(&pcm, now_usec);
        break;
    case 6:
        take_back();
        break;
    case 7:
        return_to_rewritten(before);
        break;
    case 8:
        look_for_silence(input);
        break;
    default:
        xn_pcm_rewind_to_position(&pcm);
    }
}

static void capture_step(struct fuzz_input *input, uint32_t step) {
    uint64_t before = pcm.position;
    uint32_t wanted = some_octets(input), count;
    if (step % 2) {
        void *from = calloc(1, wanted);
        REQUIRE(from || !wanted);
        count = xn_pcm_capture(&pcm, from, from ? wanted : 0, now_usec);
        free(from);
    } else {
        wanted = xn_pcm_capture_due(&pcm, now_usec);
        count = xn_pcm_capture(&pcm, NULL, wanted, now_usec);
    }
    REQUIRE(count <= wanted && count <= pcm.config.buffer_octets / 2);
    REQUIRE(pcm.position - before == count);
}

static void adopt_nonsense(struct fuzz_input *input, void *buffer) {
    struct xn_pcm_config config = pcm.config;
    uint64_t base = (uint64_t)fuzz_u32(input) << 32;
    pcm.position = base + fuzz_u16(input);
    pcm.written = base + fuzz_u32(input);
    pcm.taken = base + fuzz_u16(input);
    pcm.reported = base + fuzz_u16(input);
    pcm.heard = fuzz_u32(input);
    pcm.report_now = fuzz_u8(input) & 1;
    is_nonsense = xn_pcm_adopt(&pcm, &config, buffer, now_usec);
    if (!is_nonsense) xn_pcm_open(&pcm, &config, buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t octet_count) {
    struct fuzz_input input = {octets, octet_count};
    static const uint32_t rates_hz[] = {5512, 8000, 44100, 48000, 192000};
    uint32_t kind = fuzz_u8(&input);
    bool playback = kind & 1, adopts = kind & 2;
    uint32_t frame = 1 + fuzz_u8(&input) % 32;
    uint32_t frames = 2 + fuzz_u16(&input) % 2000;
    struct xn_pcm_config config = {.rate_hz = rates_hz[fuzz_u8(&input) % 5],
                                   .frame_octets = frame,
                                   .buffer_octets = frames * frame,
                                   .period_octets = fuzz_u16(&input) % (frames + 1) * frame,
                                   .silence_octet = playback ? 0 : 0x80};
    uint8_t *buffer = calloc(frames, frame);
    REQUIRE(buffer);
    now_usec = 1000;
    is_nonsense = has_returned = false;
    xn_pcm_open(&pcm, &config, buffer);
    if (adopts) adopt_nonsense(&input, buffer);
    while (input.left) {
        struct xn_pcm before = pcm;
        uint32_t step = fuzz_u8(&input);
        switch (step % 8) {
        case 0:
            now_usec += fuzz_u16(&input);
            break;
        case 1:
            now_usec += fuzz_u32(&input);
            break;
        case 2:
            tell(step / 8, playback);
            break;
        case 3:
            if (pcm.running) {
                xn_pcm_stop(&pcm);
                REQUIRE(pcm.position % config.buffer_octets == 0 || is_nonsense);
                REQUIRE(xn_pcm_available(&pcm) == 0);
            } else {
                xn_pcm_start(&pcm, now_usec);
            }
            break;
        default:
            if (playback)
                playback_step(&input, step / 8, &before);
            else
                capture_step(&input, step / 8);
        }
        if (playback)
            require_playback_order(&before);
        else
            require_order(&before);
    }
    xn_pcm_close(&pcm);
    free(buffer);
    return 0;
}
