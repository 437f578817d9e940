/* prices_scope.c - prices that are there for a block. */
#include "llm/money/prices.h"

#include "runtime/internal.h"

struct prices_scope {
    struct belay_slice json;
    belay_prices **ret;
    belay_prices *prices;
};

static belay_next
prices_enter(belay_task *task, void *self)
{
    struct prices_scope *scope = self;
    struct belay_prices_problem problem;
    const int code = belay_prices_new(
        belay_task_runtime(task), scope->json, &scope->prices, &problem);

    if (code == BELAY_ENOMEM) {
        return belay_fail(task, code, NULL);
    }
    if (code < 0) {
        return belay_fail(
            task, code, "prices, byte %zu: %s", problem.offset, problem.reason);
    }
    if (scope->ret != NULL) {
        *scope->ret = scope->prices;
    }
    return belay_return(task, scope->prices);
}

static belay_next
prices_exit(belay_task *task, void *self)
{
    struct prices_scope *scope = self;

    belay_prices_unref(scope->prices);
    return belay_return(task, NULL);
}

belay_next
belay_prices_open(belay_task *task, struct belay_slice json, belay_prices **ret)
{
    static const belay_manager manager = {
        {"prices", __FILE__, sizeof(struct prices_scope), prices_enter, 0},
        prices_exit};

    return belay_enter(
        task, &manager, &(const struct prices_scope){.json = json, .ret = ret});
}
