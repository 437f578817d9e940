/* sim_scene.h - a simulator, and a client of it in a thread. One at a time. */
#ifndef BELAY_TEST_SUPPORT_SIM_SCENE_H
#define BELAY_TEST_SUPPORT_SIM_SCENE_H

#include "llm/sim/internal.h"
#include "llm/sim/sim.h"
#include "test/support/alloc.h"
#include "test/support/raw_client.h"

#include <belay/group.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdatomic.h>

#define ENTRIES_MAX 64

struct sim_scene {
    uint16_t port;
    atomic_bool client_done;
    struct belay__sim_stats stats; /* at the end */
    struct belay__sim_entry entries[ENTRIES_MAX];
    size_t entry_count;
    char text[65536]; /* what the client has noted */
};
extern struct sim_scene sim_scene;

struct play {
    struct belay__sim_opts opts;
    void (*client)(void *arg);
    belay_clock *clock; /* not NULL: time flies */
    bool wait;          /* for max_requests */
    belay_group *group;
    struct belay__sim *sim;
};
extern const belay_function sim_play;

/* Gives the code; no descriptor may have stayed. */
int run_sim(const struct play *given);

/* Runs a client against a simulator with these options. */
#define PLAY(client_fn, ...)                                \
    cr_assert(eq(int,                                       \
        run_sim(&(const struct play){                       \
            .client = (client_fn), .opts = {__VA_ARGS__}}), \
        0))

/* ---- for clients ---- */

void send_request(int fd, const char *method, const char *path,
    const char *fields, const char *body);
/* A request for a chat. */
void post(int fd, const char *body);
/* A body with this much of its own; more holds further members. */
const char *chat_body(const char *content, const char *more);

/* Appends to the scene's text. */
void sim_note(const char *text);

bool is_json(const char *text);
/* Reads a whole reply of JSON. */
void read_json(int fd, int status, struct raw_reply *reply);
/* Wants an error whose text has `part` in it. */
void want_error(int fd, int status, const char *part);

/* ---- for tests ---- */

size_t count_text(const char *text, const char *part);

#endif
