/* strict.c - a look at the whole input before anything is sent.
 *
 * Nothing of the run is open yet: a batch that is refused leaves no file.
 */
#include "llm/batch/strict.h"

#include "llm/batch/pass.h"

#include <belay/async.h>

#include <inttypes.h>
#include <string.h>

struct check {
    const struct belay__batch_opts *opts;
    uint64_t count;
    uint64_t faults;
    char first[BELAY__BATCH_MESSAGE]; /* what is wrong with the first */
};

static int
check_line(void *arg, const struct belay__batch_opts *opts,
    const struct belay__line *line, const struct belay__batch_request *request)
{
    struct check *check = arg;

    (void)opts;
    (void)line;
    check->count++;
    if (request->fault != BELAY__BATCH_NONE && check->faults++ == 0) {
        memcpy(check->first, request->message, sizeof(check->first));
    }
    return 0;
}

BELAY_ASYNC(check)
{
    BELAY_BEGIN;
    if (!belay__batch_is_rereadable(self->opts->input_path)) {
        BELAY_FAIL(BELAY_EINVAL, "cannot check '%s' first: it is not a file",
            self->opts->input_path);
    }
    BELAY_AWAIT(belay__batch_pass(task, self->opts, check_line, self));
    if (self->faults > 0) {
        BELAY_FAIL(BELAY_EINVAL,
            "%" PRIu64 " of %" PRIu64 " lines are not valid; the first: %s",
            self->faults, self->count, self->first);
    }
    BELAY_END;
}

belay_next
belay__batch_check(belay_task *task, const struct belay__batch_opts *opts)
{
    return belay_call(task, &check, &(const struct check){.opts = opts});
}
