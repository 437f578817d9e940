/* summarize.c - summarize documents at once, two of them on the GPU at a time.
 *
 * Shows: a group, a deadline, a slot. embed and chat only sleep here.
 */
#include <belay/belay.h>

#include <stdio.h>

static const char *const documents[] = {"apples", "bees", "clouds", "dunes"};
#define COUNT (sizeof(documents) / sizeof(documents[0]))

static belay_next
embed(belay_task *task, const char *document)
{
    return belay_sleep(task, belay_milliseconds(document[0] % 4));
}

static belay_next
chat(belay_task *task, const char *document)
{
    return belay_sleep(task, belay_milliseconds(document[0] % 3));
}

struct summarize {
    struct belay_semaphore *gpus;
    const char *document;
    char *summary; /* out; 64 bytes */
};

BELAY_ASYNC(summarize)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(30))) {
        BELAY_WITH (belay_semaphore_open(task, self->gpus)) {
            BELAY_AWAIT(embed(task, self->document));
        }
        BELAY_AWAIT(chat(task, self->document));
    }
    if (snprintf(self->summary, 64, "all about %s", self->document) >= 64) {
        BELAY_FAIL(BELAY_ETOOLARGE, "summary of '%s'", self->document);
    }
    BELAY_END;
}

struct summarize_all {
    char (*summaries)[64]; /* out */
    struct belay_semaphore gpus;
    belay_group *group;
};

BELAY_ASYNC(summarize_all)
{
    BELAY_BEGIN;
    belay_semaphore_init(&self->gpus, 2);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (size_t i = 0; i < COUNT; i++) {
            BELAY_CHECK(belay_spawn(self->group, summarize, &self->gpus,
                documents[i], self->summaries[i]));
        }
    }
    BELAY_END;
}

int
main(void)
{
    char summaries[COUNT][64];
    const struct summarize_all arguments = {.summaries = summaries};
    const int code = belay_run(&summarize_all, &arguments, NULL, NULL);

    if (code < 0) {
        (void)fprintf(stderr, "summarize: %s\n", belay_code_text(code));
        return 1;
    }
    for (size_t i = 0; i < COUNT; i++) {
        printf("%s: %s\n", documents[i], summaries[i]);
    }
    return 0;
}
