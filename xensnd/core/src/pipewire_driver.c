#include "pipewire_driver.h"

#include <string.h>

/* What stands behind next_nsec in struct spa_io_clock from 1.0 on; the headers of 0.3.65 have
 * padding there. Older servers leave it zero, and set the length of a cycle themselves. */
struct clock_target {
    struct spa_fraction rate;
    uint64_t duration;
    uint32_t sequence; /* odd while the server writes */
};

static bool read_target(const struct spa_io_clock *clock, struct clock_target *target) {
    const uint8_t *at = (const uint8_t *)&clock->next_nsec + sizeof clock->next_nsec;
    memcpy(target, at, sizeof *target);
    return target->duration > 0 && target->rate.denom > 0 && target->sequence % 2 == 0;
}

void pipewire_driver_set_io(struct pipewire_driver *driver, uint32_t id, void *area,
                            uint32_t octets) {
    if (id != SPA_IO_Position) return;
    driver->position = area && octets >= sizeof *driver->position ? area : NULL;
}

bool pipewire_driver_drives(const struct pipewire_driver *driver) {
    return driver->position && xn_pw->stream_is_driving(driver->stream);
}

double pipewire_driver_cycle_usec(const struct pipewire_driver *driver) {
    if (!driver->position) return 0;
    const struct spa_io_clock *clock = &driver->position->clock;
    struct clock_target target = {.rate = clock->rate, .duration = clock->duration};
    struct clock_target wanted;
    if (read_target(clock, &wanted)) target = wanted;
    if (target.rate.denom == 0) return 0;
    return (double)target.duration * 1e6 * target.rate.num / target.rate.denom;
}

void pipewire_driver_begin(struct pipewire_driver *driver, int64_t now_usec) {
    struct spa_io_clock *clock = &driver->position->clock;
    struct clock_target target;
    clock->position += clock->duration;
    if (read_target(clock, &target)) {
        clock->rate = target.rate;
        clock->duration = target.duration;
    }
    driver->cycle_usec = pipewire_driver_cycle_usec(driver);
    driver->began_usec = now_usec;
    clock->nsec = (uint64_t)now_usec * 1000;
    clock->next_nsec = clock->nsec + (uint64_t)(driver->cycle_usec * 1000);
    clock->delay = 0;
    clock->rate_diff = 1;
    xn_pw->stream_trigger_process(driver->stream);
}
