/* internal.h - what the files of the simulator share (private to llm/sim).
 *
 *     sim.c       the scope, and which page a request is for
 *     exchange.c  a request from its coming to its end, in any format
 *     fate.c      what happens to it, by lot; faults.c has the names
 *     script.c    … or by a script, whose rules script_rule.c reads
 *     answer.c    an answer, in one piece or as a stream of steps
 *     chat.c, responses.c, messages.c, embeddings.c
 *                 how each format reads a request and writes an answer
 *     request.c, tools.c, words.c, put.c
 *                 what they share of that
 *     wire.c      how the bytes go out
 */
#ifndef BELAY_LLM_SIM_INTERNAL_H
#define BELAY_LLM_SIM_INTERNAL_H

#include "llm/http/server.h"
#include "llm/json/write.h"
#include "llm/sim/format.h"
#include "llm/sim/script.h"
#include "llm/sim/sim.h"
#include "runtime/internal.h"

#define BELAY__SIM_STATUSES 32
#define BELAY__SIM_NS_PER_S 1e9

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
    bool faulty;                 /* some fault may be drawn */
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

/* ---- pages.c ---- */

/* Counts a status that goes out, on whatever page. */
void belay__sim_count_status(struct belay__sim *sim, int status);
/* Does the request have the key that is wanted, if one is? */
bool belay__sim_may(
    const struct belay__sim *sim, const struct belay__request *request);
/* An error as the family writes them that the client is of. */
belay_next belay__sim_refuse(belay_task *task, struct belay__sim *sim,
    const struct belay__call *call, int status, const char *message);
belay_next belay__sim_models(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call);
belay_next belay__sim_model(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call);
belay_next belay__sim_count_tokens(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call);
belay_next belay__sim_redirected(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call);
belay_next belay__sim_stats_page(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call);

/* ---- fate.c ---- */

/* Pseudo-random numbers, a stream for each seed (SplitMix64). */
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

static inline belay_time
belay__sim_after(belay_time time, int64_t span_ns)
{
    belay_time sum;

    if (__builtin_add_overflow(time.ns, span_ns, &sum.ns)) {
        sum.ns = INT64_MAX;
    }
    return sum;
}

void belay__sim_draw_fate(const struct belay__sim_opts *opts, uint64_t hash,
    uint64_t attempt, struct belay__sim_fate *ret);
/* The same for the faults that have chances of their own. */
void belay__sim_draw_faults(const struct belay__sim_opts *opts, uint64_t hash,
    uint64_t attempt, struct belay__sim_fate *fate);
/* The status of the first fault that has one, or 200. */
int belay__sim_faults_status(belay__sim_faults faults);

/* Notes that a body has come, and says how often it had before. Without
 * memory, or beyond some millions, new bodies are not noted.
 */
uint64_t belay__sim_see(struct belay__sim_seen *seen, uint64_t hash);
void belay__sim_seen_fini(struct belay__sim_seen *seen);

/* ---- exchange.c ---- */

struct belay__sim_exchange {
    struct belay__call call;
    struct belay__sim *sim;
    const struct belay__sim_format *format;
    const struct belay__sim_rule *rule; /* of the script, or NULL */
    struct belay__sim_request request;
    struct belay__sim_fate fate;
    struct belay__sim_entry entry;
    struct belay__sim_answer answer;
    struct belay__buffer made; /* arguments of a call */
    struct belay__buffer wire; /* what goes out, if that is not what it was */
    struct belay__sim_gzip {
        uint32_t crc;
        uint32_t size;
        bool begun;
    } gzip;
    bool sent; /* something of the body */
    belay_time began;
    belay_time first; /* when the first token is ready */
};

/* A request to a page of a format, all of it. */
belay_next belay__sim_exchange(belay_task *task, struct belay__sim *sim,
    const struct belay__sim_format *format, const struct belay__call *call);

/* What the error of an exchange is, of its status, its rule or its faults.
 * *ret is filled but for the sequence.
 */
void belay__sim_error_of(
    struct belay__sim_exchange *exchange, struct belay__sim_error *ret);

/* ---- answer.c ---- */

/* Answers a request that was judged to be good, or breaks off on the way. */
belay_next belay__sim_answer(
    belay_task *task, struct belay__sim_exchange *exchange);

/* ---- wire.c ---- */

/* Is there more to it than a write? */
bool belay__sim_is_odd(belay__sim_faults faults);
bool belay__sim_is_content_type(const char *name);
/* Bytes of a stream that was begun, as the faults want them. They stay in
 * place until it is done.
 */
belay_next belay__sim_send(belay_task *task,
    struct belay__sim_exchange *exchange, struct belay_slice bytes, bool last);
/* The same bytes one by one, or at once. */
belay_next belay__sim_write(belay_task *task,
    struct belay__sim_exchange *exchange, struct belay_slice bytes, bool last);
/* A body packed, if the faults want that; into exchange->wire then. */
int belay__sim_pack(struct belay__sim_exchange *exchange,
    struct belay_slice body, bool last, struct belay_slice *ret);
/* A stream's text as the faults want it, appended to `to`. */
int belay__sim_dress(belay__sim_faults faults, bool first, bool last,
    struct belay_slice text, struct belay__buffer *to);

#endif
