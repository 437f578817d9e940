/* summarize_by_hand.c - the task of summarize.c, without the macros.
 *
 * Shows: a step starts one operation and names the step that goes on.
 */
#include <belay/belay.h>

#include <stdio.h>

struct summarize {
    struct belay_semaphore *gpus;
    const char *document;
};

static belay_next
leave_block(belay_task *task, void *self)
{
    (void)self;
    return belay_result(task)->code < 0 ? belay_pass(task) : belay_leave(task);
}

/* Stands for embed inside the inner block, for chat behind it. */
static belay_next
ask_engine(belay_task *task, void *self)
{
    belay_next sleep = belay_sleep(task, belay_milliseconds(1));

    (void)self;
    return belay_then(task, leave_block, sleep);
}

static belay_next
take_slot(belay_task *task, void *self)
{
    const struct summarize *args = self;

    return belay_with(
        task, belay_semaphore_open(task, args->gpus), ask_engine, ask_engine);
}

static belay_next
print(belay_task *task, void *self)
{
    const struct summarize *args = self;

    printf("%s: all about %s\n", args->document, args->document);
    return belay_return(task, NULL);
}

static belay_next
start(belay_task *task, void *self)
{
    (void)self;
    return belay_with(
        task, belay_timeout(task, belay_seconds(30)), take_slot, print);
}

int
main(void)
{
    static const belay_function summarize = {
        "summarize", __FILE__, sizeof(struct summarize), start, 0};
    const char *const documents[] = {"apples", "bees", "clouds", "dunes"};
    struct belay_semaphore gpus;
    int code = 0;

    belay_semaphore_init(&gpus, 2);
    for (int i = 0; i < 4 && code == 0; i++) {
        const struct summarize args = {&gpus, documents[i]};

        code = belay_run(&summarize, &args, NULL, NULL);
    }
    if (code < 0) {
        (void)fprintf(stderr, "summarize: %s\n", belay_code_text(code));
    }
    return code < 0;
}
