#include "page_directory.h"

#include "check.h"

static uint32_t *directory(void) {
    uint32_t *words = fenced_page();
    for (uint32_t i = 0; i < XN_PAGE_OCTETS / sizeof *words; i++) words[i] = 5000 + i;
    return words;
}

TEST(references_begin_after_the_next_page) {
    uint32_t refs[3], next = 0;
    CHECK_EQUAL(xn_directory_read(directory(), 3, refs, &next), 3);
    CHECK_EQUAL(next, 5000);
    CHECK_EQUAL(refs[0], 5001);
    CHECK_EQUAL(refs[2], 5003);
}

TEST(no_more_references_are_read_than_wanted) {
    uint32_t *refs = fenced_octets(2 * sizeof *refs), next = 0;
    CHECK_EQUAL(xn_directory_read(directory(), 2, refs, &next), 2);
}

TEST(no_more_references_are_read_than_a_page_holds) {
    uint32_t *refs = fenced_octets(XN_DIRECTORY_REFS * sizeof *refs), next = 0;
    CHECK_EQUAL(xn_directory_read(directory(), UINT32_MAX, refs, &next), 1023);
    CHECK_EQUAL(refs[1022], 5000 + 1023);
}

TEST(directory_of_no_references_still_has_a_next_page) {
    uint32_t next = 0;
    CHECK_EQUAL(xn_directory_read(directory(), 0, NULL, &next), 0);
    CHECK_EQUAL(next, 5000);
}

TEST(no_more_references_are_written_than_a_page_holds) {
    uint32_t *page = directory(), *refs = fenced_octets(2000 * sizeof *refs);
    for (uint32_t i = 0; i < 2000; i++) refs[i] = i;
    CHECK_EQUAL(xn_directory_write(page, refs, 2000, 9), 1023);
    CHECK_EQUAL(page[0], 9);
    CHECK_EQUAL(page[1023], 1022);
}

TEST(what_was_written_is_read) {
    uint32_t refs[2] = {8, 0xffffffff}, read[2], next = 0, *page = directory();
    CHECK_EQUAL(xn_directory_write(page, refs, 2, 0), 2);
    CHECK_EQUAL(xn_directory_read(page, 2, read, &next), 2);
    CHECK_EQUAL(next, 0);
    CHECK_EQUAL(read[0], 8);
    CHECK_EQUAL(read[1], 0xffffffff);
    CHECK_EQUAL(page[3], 5003);
}
