/* test_context_token.c - tokens whose memory others have by now: S119. */
#include "test/support/program.h"
#include "test/support/values.h"

TestSuite(context_token, .fini = check_clean, .timeout = 30);

static const struct belay_var plain = {"plain", NULL};

/* ---- an allocator that gives again what it was given last ---- */

#define KEPT_MAX 256

static struct {
    struct {
        void *ptr;
        size_t size;
    } blocks[KEPT_MAX];
    size_t count;
} kept;

static void *
take_kept(size_t size)
{
    void *ptr;

    for (size_t i = kept.count; i-- > 0;) {
        if (kept.blocks[i].size == size) {
            ptr = kept.blocks[i].ptr;
            kept.blocks[i] = kept.blocks[--kept.count];
            return ptr;
        }
    }
    return NULL;
}

static void *
recycle(void *ptr, size_t old_size, size_t new_size, void *arg)
{
    void *block;

    (void)arg;
    if (ptr != NULL && new_size == 0 && kept.count < KEPT_MAX) {
        kept.blocks[kept.count].ptr = ptr;
        kept.blocks[kept.count].size = old_size;
        kept.count++;
        return NULL;
    }
    block = ptr == NULL ? take_kept(new_size) : NULL;
    return block != NULL ? block
                         : test_allocator.realloc_fn(
                             ptr, old_size, new_size, test_allocator.arg);
}

static int
run_recycling(const belay_function *function, const void *arguments)
{
    static const struct belay_allocator recycling = {recycle, NULL};

    return belay_run(
        function, arguments, BELAY_RUNTIME_OPTS(.allocator = &recycling), NULL);
}

static void
free_kept(void)
{
    while (kept.count > 0) {
        kept.count--;
        (void)test_allocator.realloc_fn(kept.blocks[kept.count].ptr,
            kept.blocks[kept.count].size, 0, test_allocator.arg);
    }
}

/* ---- one task ---- */

struct copies {
    struct belay_var_token token;
    struct belay_var_token copy;
};

BELAY_ASYNC(copies)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("one"), &self->token));
    self->copy = self->token;
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->token)));
    cr_expect(
        eq(int, belay_var_reset(task, &plain, &self->copy), BELAY_ESTATE));
    BELAY_CHECK(belay_var_set(task, &plain, text("two"), &self->token));
    cr_expect(
        eq(int, belay_var_reset(task, &plain, &self->copy), BELAY_ESTATE));
    cr_expect_str_eq(value_of(task, &plain), "two");
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->token)));
    BELAY_END;
}

Test(context_token, s119_a_copy_of_a_used_token_is_used_too)
{
    cr_expect(zero(
        int, run_recycling(&copies, &(const struct copies){.token = {0}})));
    free_kept();
}

/* ---- two tasks, one after the other ---- */

/* Of one size, so that the second task may get the memory of the first. */
struct leaves_token {
    struct belay_var_token *ret;
};

struct finds_token {
    struct belay_var_token *token;
};

BELAY_ASYNC(leaves_token)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("the first's"), self->ret));
    BELAY_END;
}

BELAY_ASYNC(finds_token)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("its own"), NULL));
    cr_expect(
        eq(int, belay_var_reset(task, &plain, self->token), BELAY_EOWNER));
    cr_expect_str_eq(value_of(task, &plain), "its own");
    BELAY_END;
}

struct successors {
    struct belay_var_token *token;
    belay_group *group;
};

BELAY_ASYNC(successors)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, leaves_token, .ret = self->token));
    }
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(
            belay_spawn(self->group, finds_token, .token = self->token));
    }
    BELAY_END;
}

Test(context_token, s119_one_of_a_task_that_has_ended_is_of_another_task)
{
    struct belay_var_token token = {0};

    cr_expect(zero(int, run_recycling(&successors,
                            &(const struct successors){.token = &token})));
    free_kept();
}

/* ---- two runs ---- */

struct of_other_run {
    struct belay_var_token *token;
};

BELAY_ASYNC(of_other_run)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("this run's"), NULL));
    cr_expect(lt(int, belay_var_reset(task, &plain, self->token), 0));
    cr_expect_str_eq(value_of(task, &plain), "this run's");
    BELAY_END;
}

Test(context_token, s119_one_of_an_earlier_run_resets_nothing)
{
    struct belay_var_token token = {0};

    cr_expect(zero(int, run_recycling(&leaves_token,
                            &(const struct leaves_token){.ret = &token})));
    cr_expect(zero(int, run_recycling(&of_other_run,
                            &(const struct of_other_run){.token = &token})));
    free_kept();
}
