#include "page_directory.h"

uint32_t xn_directory_read(const void *page, uint32_t wanted, uint32_t *refs, uint32_t *next) {
    const volatile uint32_t *words = page;
    uint32_t count = wanted < XN_DIRECTORY_REFS ? wanted : XN_DIRECTORY_REFS;
    *next = words[0];
    for (uint32_t i = 0; i < count; i++) refs[i] = words[1 + i];
    return count;
}

uint32_t xn_directory_write(void *page, const uint32_t *refs, uint32_t count, uint32_t next) {
    volatile uint32_t *words = page;
    if (count > XN_DIRECTORY_REFS) count = XN_DIRECTORY_REFS;
    words[0] = next;
    for (uint32_t i = 0; i < count; i++) words[1 + i] = refs[i];
    return count;
}
