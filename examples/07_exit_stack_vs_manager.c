/* 07_exit_stack_vs_manager.c - when a block, when a stack, when a manager.
 *
 * Shows: blocks for what is known, a stack for what is not, one made of many.
 */
#include <belay/belay.h>

#include <stdio.h>

struct resource {
    const char *name; /* NULL: it cannot be opened */
};

BELAY_MANAGER(resource)
{
    BELAY_BEGIN;
    if (self->name == NULL) {
        BELAY_FAIL(BELAY_ENOENT, "no such resource");
    }
    printf(" +%s", self->name);
    BELAY_TRY_YIELD(self);
    printf(" -%s", self->name);
    BELAY_END;
}

/* How many there are is known when it runs: an exit stack. Round a yield it
 * makes of them all one manager, which others open in one block.
 */
struct application {
    const char *const *names; /* three, as from a configuration */
    int i;
    belay_stack *stack;
};

BELAY_MANAGER(application)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        for (; self->i < 3; self->i++) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(resource, self->names[self->i]), NULL));
        }
        BELAY_YIELD(self);
    }
    BELAY_END;
}

struct serve {
    const char *names[3];
    int code; /* that the work ends with */
};

/* What is known when it is written: a block each, one in the other. */
BELAY_ASYNC(serve)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(resource, "log")) {
        BELAY_WITH (BELAY_ENTER(application, .names = self->names)) {
            printf(" work");
            BELAY_CHECK(self->code);
        }
    }
    BELAY_END;
}

int
main(void)
{
    static const struct serve runs[] = {{{"database", "cache", "gpu"}, 0},
        {{"database", "cache", NULL}, 0},
        {{"database", "cache", "gpu"}, BELAY_EIO}};
    int failed = 0;

    for (int i = 0; i < 3; i++) {
        const int code = belay_run(&serve, &runs[i], NULL, NULL);
        printf(": %s\n", belay_code_text(code));
        failed += code < 0;
    }
    return failed != 2;
}
