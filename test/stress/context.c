/* context.c - threads look at snapshots while the loop changes variables.
 *
 * Fit for ThreadSanitizer: a call sees the value that its task had when it
 * began, whatever is set and reset meanwhile and whether or not somebody still
 * waits for it (S122). Values are destroyed on the loop's thread, each of them
 * once, and not while somebody looks (S123).
 */
#include <belay/belay.h>
#include <belay/uv.h>

#include <stdio.h>
#include <stdlib.h>

#define WORKERS 16
#define ROUNDS 60
#define LOOKS 500
#define LONG_LOOKS 50000 /* milliseconds under ThreadSanitizer */
#define DESTROYED (-1)

/* The n-th value that was set is n, until it is destroyed. */
static long values[WORKERS * ROUNDS];

static struct {
    uv_thread_t loop;
    long made;
    long destroyed;
    long elsewhere; /* destroyed on another thread, or twice */
    long started;
    long ended;
    long wrong;
} count;

static void
destroy(void *arg)
{
    const uv_thread_t self = uv_thread_self();
    long *value = arg;

    if (uv_thread_equal(&self, &count.loop) == 0 || *value == DESTROYED) {
        count.elsewhere++;
    }
    *value = DESTROYED;
    count.destroyed++;
}

static const struct belay_var numbered = {"numbered", destroy};
static const struct belay_var unset = {"unset", NULL};

struct look {
    long expected;
    int looks;
    long wrong;
};

static int
look(void *arg)
{
    struct look *look = arg;
    const long *value;

    for (int i = 0; i < look->looks; i++) {
        value = belay_blocking_var(&numbered);
        if (value == NULL || *value != look->expected
            || belay_blocking_var(&unset) != NULL) {
            look->wrong++;
        }
    }
    return 0;
}

static void
end_look(const struct look *look)
{
    count.wrong += look->wrong;
    count.ended++;
}

struct reader {
    struct look look;
};

BELAY_ASYNC(reader)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_blocking(task, look, &self->look));
    end_look(&self->look);
    BELAY_END;
}

static void
take_back(void *arg)
{
    end_look(arg);
    free(arg);
}

/* What it gives away comes back to take_back(), also if it is abandoned, as the
 * long looks are under ThreadSanitizer. */
static belay_next
give_away(belay_task *task, long expected)
{
    struct look *given = malloc(sizeof(*given));

    if (given == NULL) {
        return belay_op_refuse(task, BELAY_ENOMEM);
    }
    *given = (struct look){expected, expected % 5 == 0 ? LONG_LOOKS : LOOKS, 0};
    count.started++;
    return belay_blocking_or_abandon(task, look, given, take_back);
}

/* A reader with this task's variables as they are now; every other one gets
 * them as a context of its own. */
static int
spawn_reader(belay_task *task, belay_group *group, long expected)
{
    belay_context *context = NULL;
    int code = 0;

    if (expected % 2 != 0) {
        code = belay_context_capture(task, &context);
    }
    if (code == 0) {
        code = belay_group_spawn(group, &reader,
            &(const struct reader){.look = {expected, LOOKS, 0}},
            BELAY_SPAWN_OPTS(.context = context));
    }
    if (code == 0) {
        count.started++;
    }
    belay_context_free(context);
    return code;
}

struct worker {
    belay_group *group;
    int round;
    long number;
    struct belay_var_token token;
};

BELAY_ASYNC(worker)
{
    BELAY_BEGIN;
    for (self->round = 0; self->round < ROUNDS; self->round++) {
        self->number = count.made++;
        values[self->number] = self->number;
        BELAY_CHECK(belay_var_set(
            task, &numbered, &values[self->number], &self->token));
        BELAY_CHECK(spawn_reader(task, self->group, self->number));
        BELAY_WITH (belay_move_on(
            task, belay_milliseconds(1 + self->round % 3), NULL)) {
            BELAY_AWAIT(give_away(task, self->number));
        }
        BELAY_CHECK(belay_var_reset(task, &numbered, &self->token));
    }
    BELAY_END;
}

struct all {
    belay_group *group;
};

BELAY_ASYNC(all)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (int i = 0; i < WORKERS; i++) {
            BELAY_CHECK(belay_spawn(self->group, worker, .group = self->group));
        }
    }
    BELAY_END;
}

int
main(void)
{
    int code;

    count.loop = uv_thread_self();
    code = belay_run(&all, &(const struct all){NULL}, NULL, NULL);
    if (code < 0 || count.wrong != 0 || count.elsewhere != 0
        || count.made != (long)WORKERS * ROUNDS || count.destroyed != count.made
        || count.ended != count.started) {
        (void)fprintf(stderr,
            "%s: made %ld, destroyed %ld, elsewhere %ld, started %ld, "
            "ended %ld, wrong %ld\n",
            belay_code_name(code), count.made, count.destroyed, count.elsewhere,
            count.started, count.ended, count.wrong);
        return 1;
    }
    return 0;
}
