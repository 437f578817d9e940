/* 01_basic_concepts.c - set up, use, clean up; also when the use fails.
 *
 * Shows: a manager of one's own and two ready-made ones, in BELAY_WITH.
 */
#include <belay/belay.h>

#include <stdio.h>

static int temperature = 2; /* in tenths; all of the program goes by it */

/* Before the yield it is set up, behind it cleaned up; in between it is used. */
struct model {
    const char *name;
};

BELAY_MANAGER(model)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(250)));
    printf("load %s\n", self->name);
    BELAY_TRY_YIELD(self);
    printf("unload %s, the block ended with: %s\n", self->name,
        belay_code_text(belay_result(task)->code));
    BELAY_END;
}

struct ask {
    const char *question;
};

BELAY_ASYNC(ask)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(100)));
    if (self->question[0] == '\0') {
        BELAY_FAIL(BELAY_EINVAL, "the question is empty");
    }
    printf("%s (temperature 0.%d)\n", self->question, temperature);
    BELAY_END;
}

struct lesson {
    const char *question;
    belay_duration *ret_took;
};

BELAY_ASYNC(lesson)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stopwatch(task, self->ret_took)) {
        BELAY_WITH (BELAY_ENTER(model, .name = "tiny")) {
            BELAY_WITH (belay_setting(
                task, &temperature, &(const int){9}, sizeof(temperature))) {
                BELAY_AWAIT(BELAY_CALL(ask, .question = self->question));
            }
            BELAY_AWAIT(BELAY_CALL(ask, .question = "And once more, soberly?"));
        }
    }
    BELAY_END;
}

int
main(void)
{
    static const char *const questions[] = {"Why do lamps glow?", ""};
    belay_clock *clock = belay_clock_new(true); /* jumps: nobody waits */
    belay_duration took = {0};
    int code = clock == NULL ? BELAY_ENOMEM : 0;

    for (int i = 0; i < 2 && code == 0; i++) {
        code = belay_run(&lesson, &(const struct lesson){questions[i], &took},
            BELAY_RUNTIME_OPTS(.clock = clock), NULL);
        printf("%s after %d ms, temperature 0.%d\n", belay_code_text(code),
            (int)(took.ns / 1000000), temperature);
    }
    belay_clock_free(clock);
    return code != BELAY_EINVAL; /* the second question is none */
}
