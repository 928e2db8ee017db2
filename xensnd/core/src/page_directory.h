/* One page of the directory that lists a PCM buffer's pages (sndif.h, "gref_directory"): the grant
 * reference of the next directory page, then up to 1023 grant references of data pages.
 *
 * The caller maps the pages, follows the references from page to page, and limits their number.
 */
#ifndef XENSND_PAGE_DIRECTORY_H
#define XENSND_PAGE_DIRECTORY_H

#include "shared_memory.h"

#define XN_DIRECTORY_REFS 1023u

/* Copies up to `wanted` references out of a mapped directory page; each is read once. Returns their
 * number. *next: the reference of the next page, or 0. */
uint32_t xn_directory_read(const void *page, uint32_t wanted, uint32_t *refs, uint32_t *next);

/* Writes up to 1023 references into a directory page of our own. Returns their number. */
uint32_t xn_directory_write(void *page, const uint32_t *refs, uint32_t count, uint32_t next);

#endif
