/* program.c - reads programs and has them run, one after the other.
 *
 * They come from standard input, as made by language.py: flat lists of
 * operations, which name each other by their index.
 */
#include "test/model/interpret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct program program;
struct op ops[OPS_MAX];

static bool
read_number(int64_t *ret)
{
    char word[32];
    char *end_of_number;

    if (scanf("%31s", word) != 1) {
        return false;
    }
    *ret = strtoll(word, &end_of_number, 10);
    return *end_of_number == '\0';
}

static bool
read_op(struct op *op)
{
    int64_t kind = 0;
    bool good = read_number(&kind);

    op->kind = (int)kind;
    for (size_t i = 0; i < ARGS; i++) {
        good = good && read_number(&op->args[i]);
    }
    return good && kind >= 0 && kind < OP_KINDS;
}

static bool
read_program(void)
{
    bool good;

    if (!read_number(&program.count)) {
        return false;
    }
    good = read_number(&program.grace) && read_number(&program.entry)
           && read_number(&program.permits) && read_number(&program.tokens)
           && read_number(&program.capacity) && read_number(&program.budget)
           && program.count <= OPS_MAX;
    for (int64_t i = 0; good && i < program.count; i++) {
        good = read_op(&ops[i]);
    }
    if (!good) {
        fprintf(stderr, "not a program\n");
        exit(2);
    }
    return true;
}

static void
run_program(void)
{
    const struct child root = {program.entry, true};
    belay_clock *clock = belay_clock_new(true);
    struct belay_result result = {0};

    things_init((uint32_t)program.permits, (uint32_t)program.tokens);
    watch_init();
    others_init();
    (void)belay_run(&child, &root,
        BELAY_RUNTIME_OPTS(.clock = clock,
            .grace =
                program.grace < 0 ? BELAY_NO_GRACE : span_of(program.grace),
            .step_budget = (uint32_t)program.budget),
        &result);
    printf("=");
    put_result(&result);
    printf("\n");
    (void)fflush(stdout);
    belay_error_unref(result.error);
    belay_clock_free(clock);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--lines") == 0) {
        (void)setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* for after a crash */
    }
    while (read_program()) {
        run_program();
    }
    return 0;
}
