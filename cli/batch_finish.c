/* batch_finish.c - what the command line of `belay batch` leaves open, and what
 * does not go together.
 */
#include "cli/batch_options.h"

#include "cli/batch_usage.h"
#include "cli/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "out.jsonl" gives "out.errors.jsonl", "out" gives "out.errors". */
static char *
default_errors_path(const char *output)
{
    const char *slash = strrchr(output, '/');
    const char *dot = strrchr(slash != NULL ? slash : output, '.');
    const size_t stem =
        dot != NULL && dot > output ? (size_t)(dot - output) : strlen(output);
    const size_t size = strlen(output) + sizeof(".errors");
    char *path = malloc(size);

    if (path != NULL) {
        (void)snprintf(
            path, size, "%.*s.errors%s", (int)stem, output, output + stem);
    }
    return path;
}

static bool
complain(const char *what)
{
    (void)fprintf(stderr, "belay batch: %s; see belay batch --help\n", what);
    return false;
}

static bool
is_stdio(const char *path)
{
    return strcmp(path, "-") == 0;
}

static bool
finish_status(struct belay__batch_options *ret)
{
    struct belay__batch_opts *opts = &ret->batch;

    if (opts->input_path == NULL) {
        return complain("no OUTPUT given whose status is asked for");
    }
    if (opts->errors_path == NULL && !ret->errors_inline) {
        ret->errors_path = default_errors_path(opts->input_path);
        opts->errors_path = ret->errors_path;
    }
    return true;
}

bool
belay__batch_options_finish(struct belay__batch_options *ret)
{
    struct belay__batch_opts *opts = &ret->batch;

    if (ret->status) {
        return finish_status(ret);
    }
    if (opts->input_path == NULL) {
        return complain("no INPUT given");
    }
    if (opts->output_path == NULL && ret->dry_run) {
        return true;
    }
    if (opts->output_path == NULL) {
        return complain("no OUTPUT given (-o)");
    }
    if (opts->errors_path == NULL && !ret->errors_inline
        && !is_stdio(opts->output_path)) {
        ret->errors_path = default_errors_path(opts->output_path);
        if (ret->errors_path == NULL) {
            return complain("out of memory");
        }
        opts->errors_path = ret->errors_path;
    }
    if (opts->errors_path != NULL
        && strcmp(opts->errors_path, opts->output_path) == 0) {
        return complain("OUTPUT and the error file are the same; "
                        "--errors inline does that");
    }
    if (opts->budget.cost.pico > 0 && ret->prices_path == NULL) {
        return complain("--budget needs --prices to know what a line costs");
    }
    if (opts->overwrite && opts->retry_failed) {
        return complain("--overwrite and --retry-failed exclude each other");
    }
    if (ret->window == 0) {
        ret->window = 4 * (size_t)opts->concurrency;
    }
    opts->window = ret->in_order ? ret->window : 0;
    if (ret->sim) {
        if (opts->base_url != NULL) {
            return complain("--sim and --base-url are two servers");
        }
        return true; /* it needs no key, and shall not see one */
    }
    if (opts->base_url == NULL) {
        opts->base_url = DEFAULT_BASE_URL;
    }
    if (ret->key_path != NULL) {
        opts->api_key = belay__key_read("batch", ret->key_path);
        return opts->api_key != NULL;
    }
    opts->api_key = belay__key_take(ret->key_env);
    return true;
}
