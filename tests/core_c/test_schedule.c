/* When tasks run, and when somebody has to wake for them. */
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "schedule.h"

enum { TASKS = 3 };

static struct xn_schedule schedule;
static struct xn_task tasks[TASKS];
static unsigned runs[TASKS];
static int64_t again_usec; /* a task that runs is due again after this; 0: it is not */

static void set(struct xn_task *task, int64_t from_usec, int64_t slack_usec) {
    xn_schedule_set(task, (struct xn_window){from_usec, from_usec + slack_usec});
}

static void run(void *owner, int64_t now_usec) {
    unsigned *count = owner;
    ++*count;
    if (again_usec) set(&tasks[count - runs], now_usec + again_usec, 0);
}

static void begin(void) {
    schedule.tasks = NULL;
    again_usec = 0;
    for (unsigned i = 0; i < TASKS; i++) {
        runs[i] = 0;
        tasks[i] = (struct xn_task){.run = run, .owner = &runs[i]};
        xn_schedule_add(&schedule, &tasks[i]);
    }
}

TEST(nobody_wakes_for_tasks_that_are_not_scheduled) {
    begin();
    CHECK_EQUAL(xn_schedule_latest_usec(&schedule), XN_NEVER);
    xn_schedule_run(&schedule, INT64_MAX - 1);
    CHECK_EQUAL(runs[0] + runs[1] + runs[2], 0);
}

TEST(wakeup_is_at_the_first_end_of_a_window) {
    begin();
    set(&tasks[0], 1000, 5000);
    set(&tasks[1], 2000, 1500);
    set(&tasks[2], 9000, 0);
    CHECK_EQUAL(xn_schedule_latest_usec(&schedule), 3500);
}

TEST(one_wakeup_runs_all_that_are_due_by_then) {
    begin();
    set(&tasks[0], 1000, 5000);
    set(&tasks[1], 2000, 1500);
    set(&tasks[2], 9000, 0);
    xn_schedule_run(&schedule, 3500);
    CHECK_EQUAL(runs[0], 1);
    CHECK_EQUAL(runs[1], 1);
    CHECK_EQUAL(runs[2], 0);
    CHECK_EQUAL(xn_schedule_latest_usec(&schedule), 9000);
}

TEST(wakeup_that_comes_anyway_serves_a_task_in_its_window) {
    begin();
    set(&tasks[0], 1000, 1500);
    xn_schedule_run(&schedule, 999);
    CHECK_EQUAL(runs[0], 0);
    xn_schedule_run(&schedule, 1000);
    CHECK_EQUAL(runs[0], 1);
    CHECK_EQUAL(xn_schedule_latest_usec(&schedule), XN_NEVER);
}

TEST(task_that_is_put_off_wakes_nobody_at_its_old_time) {
    begin();
    set(&tasks[0], 1000, 0);
    set(&tasks[0], 2000, 0);
    CHECK_EQUAL(xn_schedule_latest_usec(&schedule), 2000);
    xn_schedule_run(&schedule, 1000);
    CHECK_EQUAL(runs[0], 0);
}

TEST(task_may_set_itself_again) {
    begin();
    again_usec = 100;
    set(&tasks[0], 1000, 0);
    xn_schedule_run(&schedule, 1000);
    CHECK_EQUAL(runs[0], 1);
    CHECK_EQUAL(xn_schedule_latest_usec(&schedule), 1100);
}

TEST(task_that_is_always_due_leaves_the_others_their_turn) {
    begin();
    again_usec = -1;
    for (unsigned i = 0; i < TASKS; i++) set(&tasks[i], 1000, 0);
    xn_schedule_run(&schedule, 1000);
    for (unsigned i = 0; i < TASKS; i++) CHECK_EQUAL(runs[i], 1);
}

TEST(task_that_is_removed_does_not_run) {
    begin();
    for (unsigned i = 0; i < TASKS; i++) set(&tasks[i], 1000, 0);
    xn_schedule_remove(&schedule, &tasks[1]);
    xn_schedule_run(&schedule, 1000);
    CHECK_EQUAL(runs[0] + runs[2], 2);
    CHECK_EQUAL(runs[1], 0);
}

TEST(window_of_both_is_the_first_for_either) {
    struct xn_window both = xn_window_of_both((struct xn_window){10, 50}, (struct xn_window){20, 30});
    CHECK_EQUAL(both.from_usec, 10);
    CHECK_EQUAL(both.until_usec, 30);
    both = xn_window_of_both(xn_never, both);
    CHECK_EQUAL(both.from_usec, 10);
    CHECK_EQUAL(both.until_usec, 30);
}
