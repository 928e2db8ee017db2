#include "check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_OCTETS 4096u

static struct check_test *tests;
static void *kept[256];
static unsigned kept_count;

void check_register(struct check_test *test) {
    test->next = tests;
    tests = test;
}

void check_that(int holds, const char *file, int line, const char *text) {
    if (holds) return;
    fprintf(stderr, "%s:%d: %s does not hold\n", file, line, text);
    exit(1);
}

void check_equal(int64_t got, int64_t expected, const char *file, int line, const char *text) {
    if (got == expected) return;
    fprintf(stderr, "%s:%d: %s is %" PRId64 ", expected %" PRId64 "\n", file, line, text, got,
            expected);
    exit(1);
}

static void *keep(void *memory, size_t octets) {
    CHECK(memory && kept_count < sizeof kept / sizeof kept[0]);
    kept[kept_count++] = memory;
    return memset(memory, 0, octets);
}

void *fenced_octets(size_t octets) { return keep(malloc(octets), octets); }
void *fenced_page(void) { return keep(aligned_alloc(PAGE_OCTETS, PAGE_OCTETS), PAGE_OCTETS); }

int main(int count, char **arguments) {
    for (struct check_test *test = tests; count == 2 && test; test = test->next) {
        if (strcmp(test->name, arguments[1]) != 0) continue;
        test->run();
        while (kept_count) free(kept[--kept_count]);
        return 0;
    }
    fprintf(stderr, "no such test\n");
    return 2;
}
