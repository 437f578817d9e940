/* batch_scene.h - a batch in this process, in front of a server that misbehaves.
 *
 * A test gives an input, says how the server behaves, runs the batch and looks
 * at its two files. A line's URL may be any path that ends in /score, so that
 * each line of a test can have a script of its own at the server. Time is a
 * virtual clock's: the waits between attempts take none. Where the server
 * keeps a line hanging the clock stands; those few tests take the system's
 * clock and say so. One scene at a time: its state is the variables below.
 */
#ifndef BELAY_TEST_SUPPORT_BATCH_SCENE_H
#define BELAY_TEST_SUPPORT_BATCH_SCENE_H

#include "llm/batch/batch.h"
#include "test/support/fault_server.h"
#include "test/support/files.h"
#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WAIT_ROUNDS 200000 /* of 100 us: a bound, never reached */

/* ---- requests and replies ---- */

#define REQUEST(id_, url_, body_)                                    \
    "{\"custom_id\":\"" id_ "\",\"method\":\"POST\",\"url\":\"" url_ \
    "\",\"body\":" body_ "}\n"
#define CHAT "/v1/chat/completions"
#define SCORE(name_) "/v1/" name_ "/score"
#define ON(name_, ...) FAULT_ON("/v1/" name_ "/score", __VA_ARGS__)

#define HEAD(status_, extra_) "HTTP/1.1 " status_ "\r\n" extra_
#define REPLY(status_, extra_, body_)                                    \
    FAULT_TEXT(HEAD(status_, extra_ "Connection: close\r\n\r\n" body_)), \
        FAULT_DO_CLOSE
#define OK_BODY                                     \
    "{\"id\":\"c\",\"usage\":{\"prompt_tokens\":3," \
    "\"completion_tokens\":2,\"total_tokens\":5}}"
#define OK_REPLY REPLY("200 OK", "", OK_BODY)
#define OK_LINE(id_, number_)                                    \
    "{\"id\":\"batch_req_JOB_" number_ "\",\"custom_id\":\"" id_ \
    "\",\"response\":{\"status_code\":200,\"request_id\":null,"  \
    "\"body\":" OK_BODY "},\"error\":null}\n"

#define expect_text(got, wanted) \
    cr_expect(eq(str, (got), (char *)(uintptr_t)(wanted)))

extern const struct fault_route always_ok[1];

/* ---- the scene ---- */

extern const char *input_path;
extern const char *output_path;
extern const char *errors_path;
extern char base_url[96]; /* of the server, with /v1 */
extern struct fault_server *server;
extern struct belay__batch_opts opts;
extern struct belay__batch_result result;
extern char message[1024]; /* of the run's own failure */
extern char *output;       /* what the files hold, with JOB for the job's id */
extern char *errors;

/* For .init and .fini: a folder, options that lead to it, and its end. */
void batch_set_up(void);
void batch_tear_down(void);
/* The outputs and the state, not the input. */
void remove_outputs(void);

void serve(const struct fault_route *routes, size_t count);

/* ---- its input ---- */

FILE *open_input(void);
void give(const char *text);
/* So many requests, with the numbers from 0 as their ids and in their URLs. */
void give_numbered(size_t count);

/* ---- its run ---- */

struct run_batch {
    const struct belay__batch_opts *opts;
    struct belay__batch_result *ret;
};
extern const belay_function run_batch;

/* Runs the batch, reads the files back, gives the code. */
int run_it(void);
/* The same on the system's clock. */
int run_in_real_time(void);
/* The same with the prices of such a file. */
int run_with_prices_of(const char *prices);
/* The same beside a task that looks on, and does something to it: `act` is
 * called each turn until it is done. The run is there, and can be cancelled by
 * its task.
 */
int run_beside(void (*act)(int round, bool *done));
extern struct belay__batch *running;
extern belay_task *running_task;

/* Runs the batch with every fault of one kind, in front of a server that behaves
 * like this in a process of its own; `check` looks at each run.
 */
void sweep_batch(size_t (*sweep_fn)(const struct program *program),
    const struct fault_route *routes, size_t route_count,
    void (*check)(const struct belay_result *ended, bool disturbed));

/* Reads the files back; run_it() and the like do. */
void collect(struct belay_result *ended);

/* ---- what it has left ---- */

size_t count_lines(const char *text);
/* The line of a file with this custom_id, or ""; static memory. */
char *line_of(const char *text, const char *custom_id);
/* Whole lines, each valid JSON. Gives how many. */
size_t expect_whole(const char *text);
/* Every number from 0 to count - 1 is the id of one line of either file. */
void expect_each_once(size_t count);
/* The error line has this code, and no response. */
void expect_code(const char *custom_id, const char *code);

#endif
