/* One page of the directory that names a PCM buffer's pages (sndif.h, "gref_directory"): the
 * reference of the next directory page, then up to 1023 references of data pages.
 *
 * The walk from page to page is the caller's, who maps them and bounds the hops.
 */
#ifndef XENSND_PAGE_DIRECTORY_H
#define XENSND_PAGE_DIRECTORY_H

#include "shared_memory.h"

#define XN_DIRECTORY_REFS 1023u

/* Copies up to `wanted` references out of a mapped directory page, each read once.
 * Returns how many; *next is the reference of the next page, 0 for none. */
uint32_t xn_directory_read(const void *page, uint32_t wanted, uint32_t *refs, uint32_t *next);

/* Writes up to 1023 references into a directory page of our own. Returns how many. */
uint32_t xn_directory_write(void *page, const uint32_t *refs, uint32_t count, uint32_t next);

#endif
