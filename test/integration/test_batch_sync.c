/* test_batch_sync.c - what is made safe against a loss of power, and when.
 *
 * Syncing is watched by a fdatasync() of our own, which the program's libraries
 * call as well.
 */
#include "test/support/batch_scene.h"
#include "test/support/texts.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of the journal on the disk: how many lines it knows to be sent, and done.
 * Syncs may be threads'.
 */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static size_t sent_safe;
static size_t done_safe;
static size_t journal_syncs;
static size_t output_syncs;
static size_t
    too_early; /* lines of outputs that were safe before their records */

static size_t
count_records(const char *text, char kind)
{
    size_t count = 0;

    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        count += at[1] == kind && at[2] == ' ';
    }
    return count;
}

static void
note_sync(const char *path)
{
    const char *text = file_text(path);
    const size_t len = strlen(path);
    size_t lines;

    if (len > 6 && strcmp(path + len - 6, ".state") == 0) {
        journal_syncs++;
        sent_safe = count_records(text, 's');
        done_safe = count_records(text, 'd');
    } else {
        output_syncs++;
        lines = count_lines(text);
        too_early += lines > sent_safe || lines > done_safe;
    }
}

int
fdatasync(int fd)
{
    char link[64];
    char path[256] = "";

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof(path) - 1) > 0) {
        (void)pthread_mutex_lock(&mutex);
        note_sync(path);
        (void)pthread_mutex_unlock(&mutex);
    }
    return 0;
}

static void
set_up(void)
{
    batch_set_up();
    sent_safe = done_safe = journal_syncs = output_syncs = too_early = 0;
}

TestSuite(batch_sync, .init = set_up, .fini = batch_tear_down, .timeout = 120);

Test(batch_sync, b10_b15_the_journal_is_safe_before_a_line_is)
{
    serve(always_ok, 1);
    opts.concurrency = 1;
    opts.sync = BELAY__BATCH_SYNC_LINE;
    give_numbered(10);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ge(sz, output_syncs, 10));
    cr_expect(ge(sz, journal_syncs, 10));
    cr_expect(eq(sz, too_early, 0));
}

Test(batch_sync, b10_b15_in_the_end_all_is_safe)
{
    serve(always_ok, 1);
    opts.sync = BELAY__BATCH_SYNC_INTERVAL;
    give_numbered(200);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ge(sz, output_syncs, 1));
    cr_expect(eq(sz, sent_safe, 200));
    cr_expect(eq(sz, done_safe, 200));
    cr_expect(lt(sz, journal_syncs, 100), "not one a line: %zu", journal_syncs);
}

Test(batch_sync, b10_never_is_never_but_for_the_header)
{
    serve(always_ok, 1);
    opts.sync = BELAY__BATCH_SYNC_NEVER;
    give_numbered(200);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(sz, output_syncs, 0));
    cr_expect(eq(sz, journal_syncs, 1));
}
