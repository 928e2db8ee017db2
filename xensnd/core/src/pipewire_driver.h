/* A stream that drives PipeWire's graph: it says when each cycle begins. All of it runs in the
 * engine's thread.
 */
#ifndef XENSND_PIPEWIRE_DRIVER_H
#define XENSND_PIPEWIRE_DRIVER_H

#include "pipewire_library.h"

struct pipewire_driver {
    struct pw_stream *stream;
    struct spa_io_position *position; /* shared with the server; NULL: the stream is in no graph */
    int64_t began_usec;               /* the latest cycle */
    double cycle_usec;                /* how long it is */
};

/* The server has given the stream this area, or taken it away: io_changed() of a stream. */
void pipewire_driver_set_io(struct pipewire_driver *driver, uint32_t id, void *area,
                            uint32_t octets);

/* Returns whether the stream drives now. If another one does, it begins the cycles. */
bool pipewire_driver_drives(const struct pipewire_driver *driver);

/* Returns how long the next cycle will be, as the server wants it; 0: not known. */
double pipewire_driver_cycle_usec(const struct pipewire_driver *driver);

/* Begins a cycle. */
void pipewire_driver_begin(struct pipewire_driver *driver, int64_t now_usec);

#endif
