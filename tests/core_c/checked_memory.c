#define CHECKED_MEMORY_ITSELF
#undef memcpy
#undef memset
#include "checked_memory.h"

#include <stdint.h>

static uintptr_t first, end, margin;
static bool strayed;

void watch(const void *at, size_t octets, size_t margin_octets) {
    first = (uintptr_t)at;
    end = first + octets;
    margin = margin_octets;
    strayed = false;
}

bool has_strayed(void) { return strayed; }

static bool strays(const void *at, size_t octets) {
    uintptr_t from = (uintptr_t)at, to = from + octets;
    bool near = octets && to > first - margin && from < end + margin;
    if (!near || (from >= first && to <= end)) return false;
    strayed = true;
    return true;
}

void *checked_memcpy(void *to, const void *from, size_t octets) {
    bool bad = strays(to, octets);
    bad |= strays(from, octets);
    return bad ? to : memcpy(to, from, octets);
}

void *checked_memset(void *to, int octet, size_t octets) {
    return strays(to, octets) ? to : memset(to, octet, octets);
}
