/* test_broken.c - what a program that breaks a contract says last. */
#include "test/support/program.h"

#include <belay/uv.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(broken, .fini = check_clean, .timeout = 30);

enum way {
    TWO_OPERATIONS,
    TWO_REFUSED,
    TWO_SHIELDED,
    NO_TOKEN,
    NO_BLOCK,
    NOT_AN_ENTER,
    SUPPRESS,
    YIELD,
    LEAVE,
    STACK,
    HOLD,
    OPERATION,
    NESTED_LOOP,
};

/* In a page that the child shares: the line of the await that the broken step
 * comes from, which the message names.
 */
static int *line;
#define AT_LINE(statement) \
    *line = __LINE__;      \
    statement

struct breaks {
    enum way way;
    belay_group *group; /* open somewhere */
    belay_stack *stack;
    belay_hold *hold;
    struct belay_op op;
};

static belay_next
no_operation(void)
{
    return (belay_next){0};
}

static void
drop(belay_next token)
{
    (void)token;
}

static belay_next
break_it(belay_task *task, struct breaks *self)
{
    switch (self->way) {
    case TWO_OPERATIONS:
        drop(belay_checkpoint(task));
        drop(belay_sleep(task, belay_seconds(1)));
        return belay_checkpoint(task);
    case TWO_REFUSED:
        drop(belay_sleep(task, belay_seconds(1)));
        return belay_suppressing(task, NULL, BELAY_SUPPRESSING_MAX + 1);
    case TWO_SHIELDED:
        drop(belay_sleep(task, belay_seconds(1)));
        belay_op_begin_shielded(task, &self->op);
        return belay_op_wait(&self->op);
    case NO_TOKEN:
        return no_operation();
    case NO_BLOCK:
        return BELAY_ENTER(probe, .name = "p");
    case NOT_AN_ENTER:
        return belay_with(task, belay_checkpoint(task), NULL, NULL);
    case SUPPRESS:
        return belay_suppress(task);
    case YIELD:
        return belay_yield(task, NULL);
    case LEAVE:
        return belay_leave(task);
    case STACK:
        return belay_stack_enter(
            task, self->stack, belay_checkpoint(task), NULL);
    case HOLD:
        return belay_hold_open(
            task, self->group, belay_checkpoint(task), NULL, &self->hold);
    case OPERATION:
        memset(&self->op, 0xff, sizeof(self->op));
        (void)belay_op_begin(task, &self->op, NULL);
        return belay_op_wait(&self->op);
    case NESTED_LOOP:
        (void)uv_run(
            belay_runtime_loop(belay_task_runtime(task)), UV_RUN_NOWAIT);
        return belay_checkpoint(task);
    }
    return no_operation();
}

BELAY_ASYNC(breaks)
{
    BELAY_BEGIN;
    AT_LINE(BELAY_AWAIT(belay_checkpoint(task)));
    return break_it(task, self);
    BELAY_END;
}

/* By hand and without lines: the caller's is the nearest that is known. */
static belay_next
by_hand_step(belay_task *task, void *arg)
{
    return break_it(task, arg);
}

static const belay_function by_hand = {
    "by_hand", NULL, sizeof(struct breaks), by_hand_step, 0};

struct calls {
    struct breaks breaks;
};

BELAY_ASYNC(calls)
{
    BELAY_BEGIN;
    AT_LINE(BELAY_AWAIT(belay_call(task, &by_hand, &self->breaks)));
    BELAY_END;
}

struct opens {
    struct breaks breaks;
    bool by_hand;
};

BELAY_ASYNC(opens)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->breaks.stack)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->breaks.group)) {
            if (self->by_hand) {
                BELAY_AWAIT(BELAY_CALL(calls, .breaks = self->breaks));
            } else {
                BELAY_AWAIT(belay_call(task, &breaks, &self->breaks));
            }
        }
    }
    BELAY_END;
}

/* Runs it in a process of its own, which has to abort; gives what it says. */
static char *
last_words(const struct program *program)
{
    static char text[4096];
    const struct rlimit no_core = {0, 0};
    size_t len = 0;
    int ends[2];
    int status;
    ssize_t n;
    pid_t child;
    bool aborted;

    cr_assert(zero(int, pipe(ends)));
    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)dup2(ends[1], STDERR_FILENO);
        program_unswept = true; /* each trial would end as this one */
        (void)program_run(program, NULL);
        _exit(0);
    }
    (void)close(ends[1]);
    while ((n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0) {
        len += (size_t)n;
    }
    text[len] = '\0';
    (void)close(ends[0]);
    cr_assert(eq(int, waitpid(child, &status, 0), child));
    aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    cr_assert(aborted, "status %d: %s", status, text);
    return text;
}

static void
expect_words(enum way way, bool by_hand_too, const char *what)
{
    const struct opens arguments = {.breaks.way = way, .by_hand = by_hand_too};
    const char *text = last_words(
        &(const struct program){.function = &opens, .arguments = &arguments});
    char place[512];
    bool found;

    (void)snprintf(place, sizeof(place), "task program, %s (%s:%d): %s",
        by_hand_too ? "calls" : "breaks", __FILE__, *line, what);
    found = strncmp(text, "belay: broken contract in ", 26) == 0
            && strstr(text, place) != NULL;
    cr_expect(found, "%s is not in: %s", place, text);
    found = strchr(text, '\n') == text + strlen(text) - 1;
    cr_expect(found, "not one line: %s", text);
}

static const char *const words[] = {
    [TWO_OPERATIONS] = "a step starts at most one operation, and returns it",
    [TWO_REFUSED] = "a step starts at most one operation, and returns it",
    [TWO_SHIELDED] = "a step starts at most one operation, and returns it",
    [NO_TOKEN] = "not a token of an operation",
    [NO_BLOCK] = "manager probe is entered without a block",
    [NOT_AN_ENTER] = "a block needs an enter operation",
    [SUPPRESS] = "only an exit may suppress",
    [YIELD] = "function ",
    [LEAVE] = "no open block to leave",
    [STACK] = "a stack needs an enter operation",
    [HOLD] = "a hold needs an enter operation",
    [OPERATION] = "an operation that is still on, or was never zeroed",
    [NESTED_LOOP] = "the loop is run inside a step; a step returns to it",
};

static void
map_line(void)
{
    line = mmap(NULL, sizeof(*line), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(ne(ptr, line, MAP_FAILED));
}

Test(broken, it_says_where_the_task_is, .init = map_line)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        expect_words((enum way)i, false, words[i]);
    }
}

Test(broken, of_a_step_by_hand_it_says_where_it_was_called, .init = map_line)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        expect_words((enum way)i, true, words[i]);
    }
}

struct closes {
    belay_stack *stack;
};

BELAY_ASYNC(closes)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        drop(belay_sleep(task, belay_seconds(1)));
        BELAY_TRY(belay_stack_close(task, self->stack, NULL));
    }
    BELAY_END;
}

Test(broken, s93_an_empty_close_is_an_operation_too)
{
    const struct closes arguments = {.stack = NULL};
    const char *text = last_words(
        &(const struct program){.function = &closes, .arguments = &arguments});

    cr_expect(ne(ptr, strstr(text, words[TWO_OPERATIONS]), NULL), "%s", text);
}

struct posts {
    belay_portal *portal;
};

static void
run_nested(belay_runtime *runtime, void *arg)
{
    (void)arg;
    (void)uv_run(belay_runtime_loop(runtime), UV_RUN_NOWAIT);
}

BELAY_ASYNC(posts)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_portal_open(belay_task_runtime(task), &self->portal));
    BELAY_CHECK(belay_portal_post(self->portal, run_nested, NULL));
    belay_portal_unref(self->portal);
    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    BELAY_END;
}

Test(broken, s126_a_loop_that_is_run_inside_a_post)
{
    const struct posts arguments = {.portal = NULL};
    const char *text = last_words(
        &(const struct program){.function = &posts, .arguments = &arguments});

    cr_expect(ne(ptr, strstr(text, "the loop is run inside a callback"), NULL),
        "%s", text);
}
