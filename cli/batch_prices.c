/* batch_prices.c - the price file of `belay batch`. */
#include "cli/batch_prices.h"

#include <belay/async.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE_MOST ((size_t)64 * 1024 * 1024)
#define CHUNK ((size_t)64 * 1024)

struct prices_scope {
    const char *path;
    belay_prices **ret;
    belay_prices *prices;
};

/* All of a file. The caller frees *ret. Nothing runs yet that could be held
 * up.
 */
static int
read_whole(const char *path, char **ret, size_t *ret_len)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t len = 0;
    size_t room = 0;
    int code = file == NULL ? -errno : 0;

    while (code == 0 && !feof(file)) {
        if (len == room) {
            char *more = room < SIZE_MOST ? realloc(text, room + CHUNK) : NULL;

            if (more == NULL) {
                code = room < SIZE_MOST ? BELAY_ENOMEM : BELAY_ETOOLARGE;
                break;
            }
            text = more;
            room += CHUNK;
        }
        len += fread(text + len, 1, room - len, file);
        code = ferror(file) ? BELAY_EIO : 0;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    if (code < 0) {
        free(text);
        return code;
    }
    *ret = text;
    *ret_len = len;
    return 0;
}

static belay_next
prices_enter(belay_task *task, void *self)
{
    struct prices_scope *scope = self;
    struct belay_prices_problem problem = {.reason = NULL};
    char *text = NULL;
    size_t len = 0;
    int code = read_whole(scope->path, &text, &len);

    if (code < 0) {
        return belay_fail(task, code, "cannot read '%s': %s", scope->path,
            belay_code_text(code));
    }
    code = belay_prices_new(belay_task_runtime(task),
        (struct belay_slice){text, len}, &scope->prices, &problem);
    free(text);
    if (code < 0 && problem.reason != NULL) {
        return belay_fail(task, code, "prices in '%s', byte %zu: %s",
            scope->path, problem.offset, problem.reason);
    }
    if (code < 0) {
        return belay_fail(task, code, "prices in '%s': %s", scope->path,
            belay_code_text(code));
    }
    *scope->ret = scope->prices;
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
belay__batch_prices_open(belay_task *task, const char *path, belay_prices **ret)
{
    static const belay_manager manager = {
        {"prices", __FILE__, sizeof(struct prices_scope), prices_enter, 0},
        prices_exit};

    return belay_enter(
        task, &manager, &(const struct prices_scope){.path = path, .ret = ret});
}
