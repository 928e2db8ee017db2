/* Included before each file of the model library: its copies stay inside one watched buffer, or
 * are not made and noticed.
 */
#ifndef CHECKED_MEMORY_H
#define CHECKED_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* [at, at + octets) is the buffer; nothing else lies within `margin` octets of it. */
void watch(const void *at, size_t octets, size_t margin);

/* Whether a copy touched the margin since watch(). */
bool has_strayed(void);

void *checked_memcpy(void *to, const void *from, size_t octets);
void *checked_memset(void *to, int octet, size_t octets);

#ifndef CHECKED_MEMORY_ITSELF
#define memcpy checked_memcpy
#define memset checked_memset
#endif

#endif
