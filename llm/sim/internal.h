/* internal.h - what the files of the simulator share (private to llm/sim). */
#ifndef BELAY_LLM_SIM_INTERNAL_H
#define BELAY_LLM_SIM_INTERNAL_H

#include "llm/http/server.h"
#include "llm/sim/sim.h"
#include "runtime/internal.h"

#define BELAY__SIM_STATUSES 12

/* How often each body has come: open addressing, 0 is a free place. */
struct belay__sim_seen {
    struct belay__memory *memory;
    struct belay__sim_place {
        uint64_t hash;
        uint64_t count;
    } * places;
    size_t room; /* a power of two, or 0 */
    size_t count;
};

struct belay__sim {
    struct belay__sim_opts opts; /* with defaults filled in */
    struct belay__server *server;
    struct belay__sim_seen seen;
    struct belay__sim_stats stats;
    struct {
        int status;
        uint64_t count;
    } statuses[BELAY__SIM_STATUSES]; /* sent; status 0 ends the list */
    struct belay_event finished;
    char url[80];
};

/* ---- sim.c ---- */

/* Counts a status that goes out, on whatever page. */
void belay__sim_count_status(struct belay__sim *sim, int status);
/* Does the request have the key that is wanted, if one is? */
bool belay__sim_may(
    const struct belay__sim *sim, const struct belay__request *request);
/* An error as providers write them. code may be NULL. */
belay_next belay__sim_refuse(belay_task *task, struct belay__sim *sim,
    const struct belay__call *call, int status, const char *message);

/* ---- request.c ---- */

struct belay__sim_request {
    struct belay_slice model;  /* JSON, with its quotes */
    struct belay_slice prompt; /* inside the last content of a user */
    uint64_t prompt_tokens;    /* words in all contents */
    uint64_t max_tokens;       /* UINT64_MAX if there is no limit */
    size_t wrong_at;           /* where it is not JSON; SIZE_MAX: it is */
    bool stream;
    bool include_usage;
};

/* Reads a request's body. NULL if it is a good chat request; else what is
 * wrong with it, static text, and ret->wrong_at if that has a place.
 */
const char *belay__sim_read(
    struct belay_slice body, struct belay__sim_request *ret);

/* ---- fate.c ---- */

/* Pseudo-random numbers, a stream for each seed (SplitMix64). */
struct belay__sim_dice {
    uint64_t state;
};
uint64_t belay__sim_roll(struct belay__sim_dice *dice);
/* From 0 to below 1. */
double belay__sim_draw(struct belay__sim_dice *dice);

uint64_t belay__sim_hash(struct belay_slice bytes); /* FNV-1a, 64 bits */

/* A number of nanoseconds that may be too large for one. */
static inline int64_t
belay__sim_ns(double ns)
{
    return ns < 9e18 ? (int64_t)ns : INT64_MAX;
}

/* What will happen to a request. */
struct belay__sim_fate {
    int status; /* 200, or how it is refused */
    bool cut;
    bool stall;
    bool rude;    /* cut: with a reset; stall: before the head */
    double where; /* of the reply: cut or stalled there; 0 to 1 */
    belay_duration latency;
    uint64_t id; /* for the ids in the reply */
};
void belay__sim_draw_fate(const struct belay__sim_opts *opts, uint64_t hash,
    uint64_t attempt, struct belay__sim_fate *ret);

/* Notes that a body has come, and says how often it had before. Without
 * memory, or beyond some millions, new bodies are not noted.
 */
uint64_t belay__sim_see(struct belay__sim_seen *seen, uint64_t hash);
void belay__sim_seen_fini(struct belay__sim_seen *seen);

/* ---- words.c ---- */

#define BELAY__SIM_WORD_MAX 24

/* The words of an answer, one after the other. */
struct belay__sim_words {
    struct belay__sim_dice dice;
    struct belay_slice prompt; /* must live as long */
    bool begun;
};
void belay__sim_words_init(
    struct belay__sim_words *words, uint64_t seed, struct belay_slice prompt);
/* Writes the next word, a blank before all but the first, and returns its
 * length. Only letters and digits: no JSON string needs an escape for it.
 */
size_t belay__sim_next_word(
    struct belay__sim_words *words, char ret[BELAY__SIM_WORD_MAX + 1]);

/* ---- chat.c: the page /v1/chat/completions ---- */

#define BELAY__SIM_NS_PER_S 1e9

struct belay__sim_chat {
    struct belay__call call;
    struct belay__sim *sim;
    struct belay__sim_request request;
    struct belay__sim_fate fate;
    struct belay__sim_entry entry;
    struct belay__sim_words words;
    belay_time began;
    belay_time first; /* when the first token is ready */
    uint64_t tokens;  /* of the answer */
};

belay_next belay__sim_chat(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call);

static inline belay_time
belay__sim_after(belay_time time, int64_t span_ns)
{
    belay_time sum;

    if (__builtin_add_overflow(time.ns, span_ns, &sum.ns)) {
        sum.ns = INT64_MAX;
    }
    return sum;
}

/* ---- answer.c ---- */

/* Answers a request that was judged to be good, or breaks off on the way. */
belay_next belay__sim_answer(belay_task *task, struct belay__sim_chat *chat);

#endif
