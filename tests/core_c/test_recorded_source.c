#include "recorded_source.h"

#include "check.h"

enum { MICROPHONE = 40, HEADSET = 41, MONITOR = 50 };

static struct xn_source source;

static void begin(void) { xn_source_init(&source); }

TEST(recording_without_a_link_has_no_source_to_admit) {
    begin();
    CHECK_EQUAL(xn_source_serial(&source), XN_NO_SOURCE);
    CHECK_EQUAL(xn_source_admit(&source, XN_NO_SOURCE), XN_NOT_ITS_SOURCE);
    CHECK_EQUAL(xn_source_admit(&source, MICROPHONE), XN_NOT_ITS_SOURCE);
    CHECK(!xn_source_is_admitted(&source));
}

TEST(source_of_both_links_of_stereo_is_admitted_once) {
    begin();
    CHECK(xn_source_link(&source, 1, MICROPHONE));
    CHECK(!xn_source_is_admitted(&source));
    CHECK(!xn_source_link(&source, 2, MICROPHONE));
    CHECK_EQUAL(xn_source_admit(&source, MICROPHONE), XN_ADMITTED);
    CHECK(xn_source_is_admitted(&source));
}

TEST(second_link_of_an_admitted_source_changes_nothing) {
    begin();
    xn_source_link(&source, 1, MICROPHONE);
    CHECK_EQUAL(xn_source_admit(&source, MICROPHONE), XN_ADMITTED);
    CHECK(!xn_source_link(&source, 2, MICROPHONE));
    CHECK(!xn_source_unlink(&source, 1));
    CHECK(xn_source_is_admitted(&source));
}

TEST(link_from_another_source_beside_the_admitted_one_ends_the_admission_for_good) {
    begin();
    xn_source_link(&source, 1, MICROPHONE);
    xn_source_admit(&source, MICROPHONE);
    CHECK(xn_source_link(&source, 2, MONITOR));
    CHECK_EQUAL(xn_source_serial(&source), XN_UNKNOWN_SOURCE);
    CHECK(!xn_source_is_admitted(&source));
    CHECK(xn_source_unlink(&source, 2));
    CHECK(!xn_source_is_admitted(&source));
    CHECK_EQUAL(xn_source_admit(&source, MICROPHONE), XN_MIXED);
}

TEST(source_after_one_that_was_admitted_is_admitted_without_another_stream) {
    begin();
    xn_source_link(&source, 1, MICROPHONE);
    xn_source_admit(&source, MICROPHONE);
    xn_source_unlink(&source, 1);
    CHECK(!xn_source_is_admitted(&source));
    xn_source_link(&source, 2, HEADSET);
    CHECK(!xn_source_is_admitted(&source));
    CHECK_EQUAL(xn_source_admit(&source, HEADSET), XN_ADMITTED);
}

TEST(source_after_one_that_was_not_admitted_needs_another_stream) {
    begin();
    xn_source_link(&source, 1, MONITOR);
    xn_source_unlink(&source, 1);
    xn_source_link(&source, 2, MICROPHONE);
    CHECK_EQUAL(xn_source_admit(&source, MICROPHONE), XN_MIXED);
    CHECK(!xn_source_is_admitted(&source));
}

TEST(admitted_source_that_is_linked_again_stays_admitted) {
    begin();
    xn_source_link(&source, 1, MICROPHONE);
    xn_source_admit(&source, MICROPHONE);
    CHECK(xn_source_unlink(&source, 1));
    CHECK(xn_source_link(&source, 2, MICROPHONE));
    CHECK(xn_source_is_admitted(&source));
}

TEST(what_is_no_source_is_never_admitted) {
    begin();
    xn_source_link(&source, 1, XN_UNKNOWN_SOURCE);
    CHECK_EQUAL(xn_source_admit(&source, XN_UNKNOWN_SOURCE), XN_NOT_ITS_SOURCE);
    CHECK(!xn_source_is_admitted(&source));
}

TEST(end_of_something_else_is_no_change) {
    begin();
    xn_source_link(&source, 1, MICROPHONE);
    CHECK(!xn_source_unlink(&source, 7));
    CHECK_EQUAL(xn_source_serial(&source), MICROPHONE);
}

TEST(more_links_than_can_be_kept_are_never_admitted) {
    begin();
    for (uint32_t link = 0; link < XN_SOURCE_LINKS_MAX; link++)
        xn_source_link(&source, link, MICROPHONE);
    CHECK_EQUAL(xn_source_admit(&source, MICROPHONE), XN_ADMITTED);
    xn_source_link(&source, XN_SOURCE_LINKS_MAX, MONITOR);
    CHECK(!xn_source_is_admitted(&source));
    CHECK_EQUAL(xn_source_admit(&source, MICROPHONE), XN_MIXED);
}
