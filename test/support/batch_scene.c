/* batch_scene.c - one batch and its files. */
#include "test/support/batch_scene.h"

#include "llm/json/scan.h"
#include "test/support/alloc.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *input_path;
const char *output_path;
const char *errors_path;
char base_url[96];
struct fault_server *server;
struct belay__batch_opts opts;
struct belay__batch_result result;
char message[1024];
char *output;
char *errors;

void
batch_set_up(void)
{
    test_files_open();
    input_path = test_file("in");
    output_path = test_file("out");
    errors_path = test_file("err");
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    opts = (struct belay__batch_opts){.input_path = input_path,
        .output_path = output_path,
        .errors_path = errors_path,
        .base_url = base_url,
        .concurrency = 4,
        .seed = 4711,
        .sync = BELAY__BATCH_SYNC_NEVER};
}

void
remove_outputs(void)
{
    (void)unlink(test_file("out.state"));
    (void)unlink(output_path);
    (void)unlink(errors_path);
}

void
batch_tear_down(void)
{
    fault_server_stop(server);
    test_files_fini();
}

void
serve(const struct fault_route *routes, size_t count)
{
    server = fault_server_start(routes, count);
    (void)snprintf(
        base_url, sizeof(base_url), "%s/v1", fault_server_url(server));
}

FILE *
open_input(void)
{
    FILE *file = fopen(input_path, "w");

    cr_assert(ne(ptr, file, NULL));
    return file;
}

void
give(const char *text)
{
    test_file_write("in", text);
}

/* The job's id is drawn by lot: JOB stands for it. */
static char *
read_back(const char *name)
{
    char *text = test_file_read(name);
    const char *from = text;
    char *to = text;
    const char *at;

    while (result.job[0] != '\0' && (at = strstr(from, result.job)) != NULL) {
        memmove(to, from, (size_t)(at - from));
        to += at - from;
        memcpy(to, "JOB", 3);
        to += 3;
        from = at + strlen(result.job);
    }
    memmove(to, from, strlen(from) + 1);
    return text;
}

static belay_next
run_batch_step(belay_task *task, void *self)
{
    const struct run_batch *run = self;

    return belay_end_with(task, belay__batch_run(task, run->opts, run->ret));
}

const belay_function run_batch = {
    "run_batch", __FILE__, sizeof(struct run_batch), run_batch_step, 0};

void
collect(struct belay_result *ended)
{
    message[0] = '\0';
    if (ended->error != NULL) {
        (void)snprintf(
            message, sizeof(message), "%s", belay_error_message(ended->error));
    }
    belay_error_unref(ended->error);
    output = read_back("out");
    errors = read_back("err");
}

int
run_it(void)
{
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code =
        program_run(&(const struct program){.function = &run_batch,
                        .arguments = &(const struct run_batch){&opts, &result}},
            &ended);
    collect(&ended);
    return code;
}

int
run_in_real_time(void)
{
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code = program_run_plain(
        &run_batch, &(const struct run_batch){&opts, &result}, &ended);
    collect(&ended);
    return code;
}

const struct fault_route always_ok[1] = {FAULT_ON(NULL, OK_REPLY)};

size_t
count_lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++) {
        count += *text == '\n';
    }
    return count;
}

char *
line_of(const char *text, const char *custom_id)
{
    static char line[65536];
    char wanted[128];
    const char *at;

    line[0] = '\0';
    (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%s\"", custom_id);
    at = strstr(text, wanted);
    if (at != NULL) {
        while (at > text && at[-1] != '\n') {
            at--;
        }
        cr_assert(lt(sz, strcspn(at, "\n"), sizeof(line)));
        memcpy(line, at, strcspn(at, "\n"));
        line[strcspn(at, "\n")] = '\0';
    }
    return line;
}

size_t
expect_whole(const char *text)
{
    size_t count = 0;

    while (*text != '\0') {
        const size_t len = strcspn(text, "\n");

        cr_assert(eq(chr, text[len], '\n'), "no newline at the end");
        cr_assert(eq(int,
            belay__json_check((struct belay_slice){text, len}, NULL, NULL), 0));
        text += len + 1;
        count++;
    }
    return count;
}

void
expect_each_once(size_t count)
{
    char wanted[64];

    cr_expect(eq(sz, expect_whole(output) + expect_whole(errors), count));
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%zu\"", i);
        cr_expect(ne(int, (strstr(output, wanted) != NULL),
                      (strstr(errors, wanted) != NULL)),
            "%zu", i);
    }
}

void
give_numbered(size_t count)
{
    FILE *file = open_input();

    for (size_t i = 0; i < count; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%zu\",\"method\":\"POST\",\"url\":"
            "\"/v1/%zu/score\",\"body\":{\"n\":%zu}}\n",
            i, i, i);
    }
    cr_assert(eq(int, fclose(file), 0));
}

void
expect_code(const char *custom_id, const char *code)
{
    char wanted[128];

    (void)snprintf(wanted, sizeof(wanted),
        "\"response\":null,\"error\":{\"code\":\"%s\",\"message\":\"", code);
    cr_expect(ne(ptr, strstr(line_of(errors, custom_id), wanted), NULL),
        "%s: %s", custom_id, line_of(errors, custom_id));
}

struct beside {
    void (*act)(int round, bool *done); /* each turn until done */
    belay_group *group;
    struct belay__batch *batch;
    int round;
    bool done;
};

struct belay__batch *running;
belay_task *running_task;

BELAY_ASYNC(beside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        opts.running = &running;
        BELAY_CHECK(belay_group_spawn(self->group, &run_batch,
            &(const struct run_batch){&opts, &result},
            BELAY_SPAWN_OPTS(.task = &running_task)));
        for (self->round = 0; !self->done; self->round++) {
            cr_assert(lt(int, self->round, WAIT_ROUNDS));
            (void)usleep(100);
            self->act(self->round, &self->done);
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    belay_task_unref(running_task);
    BELAY_END;
}

int
run_beside(void (*act)(int round, bool *done))
{
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code = program_run(&(const struct program){.function = &beside,
                           .arguments = &(const struct beside){.act = act}},
        &ended);
    collect(&ended);
    return code;
}

struct run_priced {
    struct belay_slice text;
    belay_prices *prices;
};

BELAY_ASYNC(run_priced)
{
    int code = 0;

    BELAY_BEGIN;
    code = belay_prices_new(
        belay_task_runtime(task), self->text, &self->prices, NULL);
    BELAY_CHECK(code);
    opts.prices = self->prices;
    BELAY_TRY(belay__batch_run(task, &opts, &result));
    belay_prices_unref(self->prices);
    return belay_pass(task);
    BELAY_END;
}

int
run_with_prices_of(const char *prices)
{
    const struct run_priced arguments = {.text = {prices, strlen(prices)}};
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code = program_run_plain(&run_priced, &arguments, &ended);
    opts.prices = NULL;
    collect(&ended);
    return code;
}

void
sweep_batch(size_t (*sweep_fn)(const struct program *program),
    const struct fault_route *routes, size_t route_count,
    void (*check)(const struct belay_result *ended, bool disturbed))
{
    const struct run_batch arguments = {&opts, &result};
    char url[64];
    const int pid =
        fault_server_start_apart(routes, route_count, url, sizeof(url));

    (void)snprintf(base_url, sizeof(base_url), "%s/v1", url);
    opts.overwrite = true;
    cr_expect(gt(sz,
        sweep_fn(&(const struct program){
            .function = &run_batch, .arguments = &arguments, .check = check}),
        10));
    fault_server_stop_apart(pid);
}
