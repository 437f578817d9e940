/* 06_batch.c - a batch of requests beside a program's own work.
 *
 * Shows: the job of `belay batch` as a scope, on a simulated server; a second
 * run finds nothing left to do.
 */
#include <belay/batch.h>
#include <belay/belay.h>
#include <belay/simulator.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct example {
    belay_simulator *server;
    belay_batch *batch;
    unsigned seen;
    int run;
};

static void
on_line(const struct belay_batch_line *line, void *arg)
{
    struct example *self = arg;

    self->seen += line->ok;
}

BELAY_ASYNC(example)
{
    struct belay_batch_report report;

    BELAY_BEGIN;
    BELAY_WITH (belay_simulator_open(
        task, BELAY_SIMULATOR_OPTS(.fail_429 = 0.1), &self->server)) {
        for (self->run = 1; self->run <= 2; self->run++) {
            BELAY_WITH (belay_batch_open(task,
                BELAY_BATCH_OPTS(.input_path = "requests.jsonl",
                    .output_path = "replies.jsonl",
                    .base_url = belay_simulator_url(self->server),
                    .on_line = on_line, .arg = self),
                &self->batch)) {
                printf("run %d: the block has its own work\n", self->run);
                BELAY_AWAIT(belay_batch_wait(task, self->batch));
                belay_batch_get_report(self->batch, &report);
                printf("run %d: %" PRIu64 " new, %" PRIu64 " done before, "
                       "%u seen\n",
                    self->run, report.ok, report.done_before, self->seen);
            }
        }
    }
    BELAY_END;
}

int
main(void)
{
    char dir[] = "/tmp/belay-example-XXXXXX";
    FILE *file;
    int code;

    if (mkdtemp(dir) == NULL || chdir(dir) != 0
        || (file = fopen("requests.jsonl", "w")) == NULL) {
        return 1;
    }
    for (int i = 0; i < 500; i++) {
        fprintf(file,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/chat/completions\",\"body\":{\"model\":\"m\",\"messages\":"
            "[{\"role\":\"user\",\"content\":\"hello %d\"}]}}\n",
            i, i);
    }
    (void)fclose(file);
    code = belay_run(&example, &(struct example){.run = 0}, NULL, NULL);
    (void)(unlink("requests.jsonl") + unlink("replies.jsonl")
           + unlink("replies.jsonl.state") + rmdir(dir));
    return code < 0;
}
