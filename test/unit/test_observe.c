/* test_observe.c - who is told what, when, and how long it took. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(observe, .fini = check_clean, .timeout = 30);

/* ---- an observer that traces ---- */

static const char *
outcome_text(int code, bool cancelled)
{
    if (cancelled) {
        return "cancel";
    }
    return code < 0 ? belay_code_name(code) : "ok";
}

static int
milliseconds(belay_duration span)
{
    return (int)(span.ns / 1000000);
}

static void
tell(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    const char *who = arg != NULL ? arg : "";

    (void)runtime;
    switch (seen->event) {
    case BELAY_OBSERVED_SCOPE_OPEN:
    case BELAY_OBSERVED_SCOPE_LEAVE:
        break; /* in other tests */
    case BELAY_OBSERVED_SCOPE_ENTER:
        trace("%s+%s%s %d", who, seen->name, seen->label,
            milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_SCOPE_ERROR:
        trace("%s!%s %s", who, seen->name,
            outcome_text(seen->result->code, seen->result->cancelled));
        break;
    case BELAY_OBSERVED_SCOPE_EXIT:
        trace("%s-%s %s>%s %d/%d", who, seen->name,
            outcome_text(seen->code, seen->cancelled),
            seen->result != NULL
                ? outcome_text(seen->result->code, seen->result->cancelled)
                : "gone",
            milliseconds(seen->open), milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_TASK_SPAWN:
        trace("%sspawn %s by %s", who, seen->task_name, seen->by_name);
        break;
    case BELAY_OBSERVED_TASK_END:
        trace("%send %s %s %d", who, seen->task_name,
            outcome_text(seen->code, seen->cancelled),
            milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_SCOPE_CANCEL:
        trace("%scancel %s of %s: %s %s by %s", who, seen->name,
            seen->task_name, belay__cancel_source_name(seen->source),
            seen->text, seen->by_name);
        break;
    case BELAY_OBSERVED_TASK_PARK:
    case BELAY_OBSERVED_GROUP_JOIN:
        trace("%s%s %s", who, seen->event_name, seen->name);
        break;
    case BELAY_OBSERVED_GROUP_FAIL:
        trace("%sgroup.fail %s: %s %d", who, seen->name, seen->by_name,
            (int)seen->count);
        break;
    case BELAY_OBSERVED_TASK_RESUME:
    case BELAY_OBSERVED_DEADLINE_EXPIRE:
    case BELAY_OBSERVED_DEADLINE_MOVE:
    case BELAY_OBSERVED_DEADLINE_GRACE:
        trace("%s%s %s", who, seen->event_name, seen->name);
        break;
    case BELAY_OBSERVED_NOTE:
        trace("%snote %s %d %d", who, seen->event_name, (int)seen->id,
            (int)seen->field_count);
        break;
    }
}

static void
attach(belay_task *task, const char *who,
    const struct belay_observer_opts *opts, belay_observer **ret)
{
    const int code = belay_observer_attach(
        belay_task_runtime(task), tell, belay__without_const(who), opts, ret);

    cr_assert(code == 0 || test_alloc_failures() > 0);
}

/* ---- managers that take time ---- */

/* In generator style: both fast ways of the trampoline are for the other. */
struct slow {
    int enter_ms;
    int exit_ms;
    int enter_code;
    int exit_code;
};

BELAY_MANAGER(slow)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->enter_ms)));
    if (self->enter_code < 0) {
        BELAY_FAIL(self->enter_code, "no");
    }
    BELAY_TRY_YIELD(self);
    BELAY_TRY(belay_sleep(task, belay_milliseconds(self->exit_ms)));
    if (self->exit_code < 0) {
        BELAY_FAIL(self->exit_code, "not closed");
    }
    BELAY_END;
}

static belay_next
plain_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
plain_exit(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static const belay_manager plain = {
    {"plain", NULL, sizeof(int), plain_enter, 0}, plain_exit};

/* ---- enter, exit, error ---- */

struct times {
    int unused;
};

BELAY_ASYNC(times)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    BELAY_WITH (BELAY_ENTER(slow, .enter_ms = 20, .exit_ms = 300)) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(4000)));
        BELAY_WITH (belay_enter(task, &plain, NULL)) {
            trace("body");
        }
    }
    BELAY_END;
}

Test(observe, enter_and_exit_tell_how_long_by_the_clock_of_the_runtime)
{
    cr_expect(eq(int, RUN(times, .unused = 0), 0));
    expect_trace("+slow 20; +plain 0; body; -plain ok>ok 0/0; "
                 "-slow ok>ok 4300/300");
}

struct fails {
    int enter_code;
    int body_code;
    int exit_code;
    bool suppress;
};

BELAY_ASYNC(fails)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    BELAY_WITH (belay_suppressing(
        task, (const int[]){BELAY_EPIPE}, self->suppress ? 1 : 0)) {
        BELAY_WITH (BELAY_ENTER(slow, .enter_ms = 5,
            .enter_code = self->enter_code, .exit_code = self->exit_code)) {
            if (self->body_code < 0) {
                BELAY_FAIL(self->body_code, "body");
            }
        }
    }
    BELAY_END;
}

Test(observe, an_enter_that_fails_is_an_error_and_nothing_else)
{
    cr_expect(eq(int, RUN(fails, .enter_code = BELAY_EIO), BELAY_EIO));
    expect_trace("+suppressing 0; !slow EIO; !suppressing EIO; "
                 "-suppressing EIO>EIO 5/0");
}

Test(observe, the_outcome_is_the_body_s_the_result_what_the_exit_made_of_it)
{
    cr_expect(eq(int,
        RUN(fails, .body_code = BELAY_EPROTO, .exit_code = BELAY_EPIPE,
            .suppress = true),
        0));
    expect_trace(
        "+suppressing 0; +slow 5; !slow EPIPE; -slow EPROTO>EPIPE 0/0; "
        "-suppressing EPIPE>ok 5/0");
}

struct by_hand {
    int unused;
};

static belay_next
by_hand_body(belay_task *task, void *self)
{
    (void)self;
    trace("body");
    return belay_leave(task);
}

static belay_next
by_hand_after(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
by_hand_step(belay_task *task, void *self)
{
    (void)self;
    attach(task, NULL, NULL, NULL);
    return belay_with(
        task, BELAY_ENTER(slow, .enter_ms = 5), by_hand_body, by_hand_after);
}

static const belay_function by_hand = {
    "by_hand", NULL, sizeof(struct by_hand), by_hand_step, 0};

Test(observe, a_block_that_is_opened_by_hand_is_told_as_any)
{
    cr_expect(eq(int, RUN(by_hand, .unused = 0), 0));
    expect_trace("+slow 5; body; -slow ok>ok 0/0");
}

/* ---- cancels ---- */

struct times_out {
    int unused;
};

BELAY_ASYNC(times_out)
{
    BELAY_BEGIN;
    attach(task, NULL,
        BELAY_OBSERVER_OPTS(.kinds =
                                BELAY_OBSERVE_SCOPES | BELAY_OBSERVE_CANCELS),
        NULL);
    BELAY_WITH (belay_timeout(task, belay_milliseconds(50))) {
        BELAY_WITH (BELAY_ENTER(slow, .exit_ms = 7000)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    BELAY_END;
}

Test(observe, a_cancel_is_told_with_its_reason_and_is_no_error_of_a_block)
{
    cr_expect(eq(int, RUN(times_out, .unused = 0), BELAY_ETIMEDOUT));
    expect_trace(
        "+cancel scope 0; +slow 0; deadline.expire cancel scope; "
        "cancel cancel scope of program: deadline the deadline passed by ; "
        "deadline.grace cancel scope; -slow cancel>cancel 5050/5000; "
        "!cancel scope ETIMEDOUT; -cancel scope cancel>ETIMEDOUT 5050/0");
}

struct child {
    int code;
};

BELAY_ASYNC(child)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(3)));
    if (self->code < 0) {
        BELAY_FAIL(self->code, "child");
    }
    BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    BELAY_END;
}

struct family {
    belay_group *group;
};

BELAY_ASYNC(family)
{
    BELAY_BEGIN;
    attach(task, NULL,
        BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_TASKS | BELAY_OBSERVE_CANCELS
                                     | BELAY_OBSERVE_GROUPS),
        NULL);
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.name = "pair"), &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &child,
            &(const struct child){BELAY_EIO}, BELAY_SPAWN_OPTS(.name = "a")));
        BELAY_CHECK(belay_group_spawn(self->group, &child,
            &(const struct child){0}, BELAY_SPAWN_OPTS(.name = "b")));
    }
    BELAY_END;
}

Test(observe, tasks_groups_and_the_sibling_that_is_cancelled)
{
    cr_expect(eq(int, RUN(family, .group = NULL), BELAY_EGROUP));
    expect_trace("spawn a by program; spawn b by program; group.join pair; "
                 "end a EIO 3; group.fail pair: a 1; "
                 "cancel pair of program: sibling another task of the group "
                 "failed by a; end b cancel 3");
}

/* ---- who is told ---- */

struct several {
    belay_observer *first;
    belay_observer *second;
};

BELAY_ASYNC(several)
{
    BELAY_BEGIN;
    attach(task, "1", NULL, &self->first);
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        attach(
            task, "2", BELAY_OBSERVER_OPTS(.manager = "slow"), &self->second);
        BELAY_WITH (BELAY_ENTER(slow, .enter_ms = 1)) {
            belay_observer_detach(self->first);
        }
        attach(task, "3", NULL, NULL);
    }
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        belay_observer_detach(self->second);
        belay_observer_detach(NULL);
    }
    BELAY_END;
}

Test(observe, each_is_told_the_end_of_what_it_was_told_the_beginning_of)
{
    cr_expect(eq(int, RUN(several, .first = NULL), 0));
    expect_trace("1+plain 0; 1+slow 1; 2+slow 1; 2-slow ok>ok 0/0; "
                 "3+plain 0; 3-plain ok>ok 0/0");
}

/* One that comes while the others are told, one that goes. */
struct turncoat {
    belay_observer *self;
    belay_observer *other;
    int calls;
};

static void
turn(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct turncoat *coat = arg;

    if (seen->event != BELAY_OBSERVED_SCOPE_ENTER) {
        return;
    }
    trace("turn");
    coat->calls++;
    belay_observer_detach(coat->self);
    belay_observer_detach(coat->other);
    cr_expect(eq(int,
        belay_observer_attach(
            runtime, tell, (void *)(uintptr_t) "new", NULL, NULL),
        0));
}

struct turns {
    struct turncoat coat;
};

BELAY_ASYNC(turns)
{
    BELAY_BEGIN;
    attach(task, "a", NULL, NULL);
    cr_assert(eq(int,
        belay_observer_attach(belay_task_runtime(task), turn, &self->coat, NULL,
            &self->coat.self),
        0));
    attach(task, "b", NULL, &self->coat.other);
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body");
    }
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body");
    }
    BELAY_END;
}

Test(observe, one_may_detach_itself_and_others_and_attach_in_its_call)
{
    cr_expect(eq(int, RUN(turns, .coat = {.calls = 0}), 0));
    expect_trace("a+plain 0; turn; body; a-plain ok>ok 0/0; "
                 "a+plain 0; new+plain 0; body; a-plain ok>ok 0/0; "
                 "new-plain ok>ok 0/0");
}

/* ---- steps ---- */

struct steps {
    struct belay_event event;
};

BELAY_ASYNC(steps)
{
    BELAY_BEGIN;
    attach(task, NULL, BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_STEPS), NULL);
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    belay_event_set(&self->event);
    BELAY_AWAIT(belay_event_wait(task, &self->event)); /* does not wait */
    BELAY_END;
}

static int joining_line; /* of the program below */

static void
tell_line(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    (void)arg;
    if (seen->event == BELAY_OBSERVED_TASK_PARK) {
        trace("%s at %s, line %d", seen->name,
            strstr(seen->file, "test_observe.c") != NULL ? "home" : seen->file,
            seen->line - joining_line);
    }
}

struct joins_child {
    int unused;
};

struct joins {
    belay_group *group;
};

BELAY_ASYNC(joins_child)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    BELAY_END;
}

BELAY_ASYNC(joins)
{
    BELAY_BEGIN;
    joining_line = __LINE__ + 4;
    cr_assert(zero(
        int, belay_observer_attach(belay_task_runtime(task), tell_line, NULL,
                 BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_STEPS), NULL)));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, joins_child, .unused = 0));
    }
    BELAY_END;
}

Test(observe, a_group_that_joins_waits_where_its_block_stands)
{
    cr_expect(eq(int, RUN(joins, .group = NULL), 0));
    expect_trace("group join at home, line 0; sleep at home, line -11");
}

Test(observe, parks_and_resumes)
{
    cr_expect(eq(int, RUN(steps, .event = {.set = false}), 0));
    expect_trace("task.park checkpoint; task.resume ; task.park sleep; "
                 "task.resume ");
}

/* ---- notes ---- */

struct notes {
    int unused;
};

BELAY_ASYNC(notes)
{
    static const struct belay_note_field fields[] = {
        {.key = "slot", .number = 3}, {.key = "model", .text = "m"}};
    belay_runtime *runtime = belay_task_runtime(task);
    belay_observer *observer = NULL;

    BELAY_BEGIN;
    cr_expect(not(belay_observed_by(runtime, BELAY_OBSERVE_NOTES)));
    belay_note(runtime, task, BELAY_NOTE_MOMENT, "unheard", 0, NULL, 0);
    attach(task, NULL, BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_NOTES),
        &observer);
    if (observer == NULL) {
        BELAY_FAIL(BELAY_ENOMEM, "nobody listens");
    }
    cr_expect(belay_observed_by(runtime, BELAY_OBSERVE_NOTES));
    belay_note(runtime, task, BELAY_NOTE_BEGIN, "lease.wait", 7, fields, 2);
    belay_note(runtime, NULL, BELAY_NOTE_END, "lease.wait", 7, NULL, 0);
    belay_observer_detach(observer);
    cr_expect(not(belay_observed_by(runtime, BELAY_OBSERVE_NOTES)));
    BELAY_END;
}

Test(observe, notes_of_modules_reach_observers)
{
    cr_expect(eq(int, RUN(notes, .unused = 0), 0));
    expect_trace("note lease.wait 7 2; note lease.wait 7 0");
}

struct newcomer {
    belay_observer *observer;
};

static void
count_note(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    trace("%s hears %s", (const char *)arg, seen->event_name);
}

static void
bring_another(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct newcomer *self = arg;

    trace("first hears %s", seen->event_name);
    if (self->observer == NULL) {
        (void)belay_observer_attach(runtime, count_note,
            (void *)(uintptr_t) "second",
            BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_NOTES), &self->observer);
    }
}

BELAY_ASYNC(newcomer)
{
    belay_runtime *runtime = belay_task_runtime(task);

    BELAY_BEGIN;
    BELAY_CHECK(belay_observer_attach(runtime, bring_another, self,
        BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_NOTES), NULL));
    belay_note(runtime, task, BELAY_NOTE_MOMENT, "one", 0, NULL, 0);
    belay_note(runtime, task, BELAY_NOTE_MOMENT, "two", 0, NULL, 0);
    BELAY_END;
}

Test(observe, who_comes_while_a_note_is_told_hears_the_next_one)
{
    cr_expect(eq(int, RUN(newcomer, .observer = NULL), 0));
    expect_trace("first hears one; first hears two; second hears two");
}

struct no_trace {
    belay_observer *observer;
    belay_stack *stack;
    belay_stack_entry *entry;
};

static size_t
spans_of(const belay_task *task)
{
    return belay_task_runtime(task)->observers.scopes.count;
}

/* What has ended is followed no longer, however it has. */
BELAY_ASYNC(no_trace)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_observer_attach(
        belay_task_runtime(task), NULL, NULL, NULL, &self->observer));
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EIO))) {
        BELAY_WITH (BELAY_ENTER(slow, .enter_code = BELAY_EIO)) {
            trace("not reached");
        }
    }
    cr_expect(zero(sz, spans_of(task)));
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_push(self->stack, &plain, NULL, &self->entry));
        cr_expect(eq(sz, spans_of(task), 2));
        BELAY_CHECK(belay_stack_forget(self->stack, self->entry));
        cr_expect(eq(sz, spans_of(task), 1));
    }
    cr_expect(zero(sz, spans_of(task)));
    BELAY_END;
}

Test(observe, what_has_ended_is_followed_no_longer)
{
    cr_expect(eq(int, RUN(no_trace, .stack = NULL), 0));
    expect_trace("");
}

/* ---- exit stacks: other orders, other tasks ---- */

struct stacked {
    belay_stack *outer;
    belay_stack *inner;
    belay_stack_entry *entry;
};

BELAY_ASYNC(stacked)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_WITH (belay_stack_open(task, &self->inner)) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->inner, BELAY_ENTER(slow, .exit_ms = 2), NULL));
            BELAY_CHECK(
                belay_stack_push(self->inner, &plain, NULL, &self->entry));
            BELAY_CHECK(belay_stack_forget(self->inner, self->entry));
            BELAY_CHECK(belay_stack_move(self->inner, self->outer));
        }
        trace("moved");
    }
    BELAY_END;
}

Test(observe, entries_of_a_stack_end_where_they_end)
{
    cr_expect(eq(int, RUN(stacked, .outer = NULL), 0));
    expect_trace("+exit stack 0; +exit stack 0; +slow 0; +plain 0; "
                 "-plain ok>gone 0/0; -exit stack ok>ok 0/0; moved; "
                 "-slow ok>ok 2/2; -exit stack ok>ok 2/2");
}

/* ---- in the options, without memory, in the middle ---- */

struct balance {
    int open;
    int parts;
    int tasks;
};

static void
count(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct balance *balance = arg;

    (void)runtime;
    balance->open += seen->event == BELAY_OBSERVED_SCOPE_OPEN;
    balance->open -= seen->event == BELAY_OBSERVED_SCOPE_EXIT;
    balance->open -=
        seen->event == BELAY_OBSERVED_SCOPE_ERROR && !seen->entered;
    balance->parts += seen->event == BELAY_OBSERVED_SCOPE_ENTER;
    balance->parts -= seen->event == BELAY_OBSERVED_SCOPE_LEAVE;
    balance->tasks += seen->event == BELAY_OBSERVED_TASK_SPAWN;
    balance->tasks -= seen->event == BELAY_OBSERVED_TASK_END;
}

static struct balance balance;

struct all {
    belay_group *group;
    belay_stack *stack;
    void *value;
};

BELAY_ASYNC(all)
{
    BELAY_BEGIN;
    /* Without the memory for it nothing is counted. */
    (void)belay_observer_attach(belay_task_runtime(task), count, &balance,
        BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_DEFAULT), NULL);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, times, .unused = 0));
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(slow, .enter_ms = 1, .exit_ms = 1), NULL));
            BELAY_CHECK(belay_stack_push(self->stack, &plain, NULL, NULL));
            /* Ends before it is ready: a task that is given up. */
            BELAY_TRY(belay_group_start(task, self->group, &fails,
                &(const struct fails){.body_code = BELAY_EIO}, NULL,
                &self->value));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(9000)));
        }
    }
    BELAY_END;
}

static void
check_balance(const struct belay_result *result, bool disturbed)
{
    (void)result;
    (void)disturbed;
    cr_expect(eq(int, balance.open, 0));
    cr_expect(eq(int, balance.parts, 0));
    cr_expect(eq(int, balance.tasks, 0));
    trace_clear();
    balance = (struct balance){0};
}

Test(observe, what_is_told_is_whole_whatever_is_cancelled_or_refused)
{
    const struct program program = {.function = &all,
        .arguments = &(const struct all){.stack = NULL},
        .check = check_balance};

    sweep(&program);
}

/* Which allocation of an enter is that of the table of what is open. */
#ifdef BELAY_ARENA_MALLOC
#define TABLE_ALLOCATION 1 /* the frame's is the first one */
#else
#define TABLE_ALLOCATION 0
#endif

struct lost_root {
    int unused;
};

BELAY_ASYNC(lost_root)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    test_alloc_fail_at(TABLE_ALLOCATION);
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        test_alloc_never_fail();
        trace("unseen");
    }
    cr_expect(eq(u64, belay_observe_lost(belay_task_runtime(task)), 1));
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body");
    }
    BELAY_END;
}

Test(observe, without_memory_neither_end_is_told_and_that_is_counted)
{
    cr_expect(eq(int, RUN(lost_root, .unused = 0), 0));
    expect_trace("unseen; +plain 0; body; -plain ok>ok 0/0");
}

/* ---- from the first event on, and ages ---- */

struct aged {
    char *text;
    size_t len;
    FILE *out;
};

BELAY_ASYNC(aged)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        belay_runtime_dump(belay_task_runtime(task), self->out);
    }
    BELAY_END;
}

static void
run_aged(const struct belay_runtime_opts *opts, const char *expected)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    cr_assert(ne(ptr, out, NULL));
    cr_expect(eq(int,
        belay_run(&aged, &(const struct aged){.out = out}, opts, NULL), 0));
    (void)fclose(out);
    cr_expect(ne(ptr, strstr(text, expected), NULL), "%s", text);
    free(text);
}

Test(observe, s138_a_dump_has_ages_while_somebody_observes)
{
    belay_clock *clock = belay_clock_new(true);

    run_aged(BELAY_RUNTIME_OPTS(.clock = clock, .allocator = &test_allocator,
                 .observe_kinds = BELAY_OBSERVE_TASKS | BELAY_OBSERVE_SCOPES),
        "[plain 1.000 s], age 3.000 s\n");
    run_aged(BELAY_RUNTIME_OPTS(.clock = clock, .allocator = &test_allocator),
        "[plain]\n");
    belay_clock_free(clock);
}

Test(observe, the_observer_of_the_options_misses_nothing)
{
    belay_clock *clock = belay_clock_new(true);

    cr_expect(eq(int,
        belay_run(&child, &(const struct child){BELAY_EIO},
            BELAY_RUNTIME_OPTS(.clock = clock, .allocator = &test_allocator,
                .observe = tell, .observe_kinds = BELAY_OBSERVE_TASKS),
            NULL),
        BELAY_EIO));
    expect_trace("spawn child by ; end child EIO 3");
    trace_clear();
    belay_clock_free(clock);
}

Test(observe, what_is_no_option_is_refused)
{
    const struct belay_observer_opts wrong = {.size = 1};
    uv_loop_t loop;
    belay_runtime *runtime = NULL;

    cr_assert(eq(int, uv_loop_init(&loop), 0));
    cr_assert(eq(int,
        belay_runtime_attach(
            &loop, BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &runtime),
        0));
    cr_expect(eq(int, belay_observer_attach(runtime, tell, NULL, &wrong, NULL),
        BELAY_EINVAL));
    cr_expect(eq(int,
        belay_observer_attach(
            runtime, tell, NULL, BELAY_OBSERVER_OPTS(.kinds = 64), NULL),
        BELAY_EINVAL));
    test_alloc_fail_at(0);
    cr_expect(eq(int, belay_observer_attach(runtime, tell, NULL, NULL, NULL),
        BELAY_ENOMEM));
    test_alloc_never_fail();
    cr_expect(not(belay_observed_by(runtime, UINT32_MAX)));
    belay_runtime_close(runtime, NULL, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    cr_expect(eq(int, uv_loop_close(&loop), 0));
}
