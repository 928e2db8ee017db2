/* Tests that are functions with sentences for names. `program NAME` runs one of them; the first
 * check that does not hold says where and what, and ends it. tests/unit/test_core_c.py compiles
 * and runs each test by itself, under the address and undefined behaviour sanitizers.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdint.h>

struct check_test {
    const char *name;
    void (*run)(void);
    struct check_test *next;
};

void check_register(struct check_test *test);
void check_that(int holds, const char *file, int line, const char *text);
void check_equal(int64_t got, int64_t expected, const char *file, int line, const char *text);

#define TEST(sentence)                                                                             \
    static void sentence(void);                                                                    \
    __attribute__((constructor)) static void register_##sentence(void) {                           \
        static struct check_test test = {#sentence, sentence, 0};                                  \
        check_register(&test);                                                                     \
    }                                                                                              \
    static void sentence(void)

#define CHECK(condition) check_that(!!(condition), __FILE__, __LINE__, #condition)
#define CHECK_EQUAL(got, expected)                                                                 \
    check_equal((int64_t)(got), (int64_t)(expected), __FILE__, __LINE__, #got)

/* Returns zeroed memory, fenced by the sanitizer on both sides to the octet. It is freed when the
 * test ends. */
void *fenced_octets(size_t octets);

/* The same, as an aligned page of 4096 octets. */
void *fenced_page(void);

#endif
