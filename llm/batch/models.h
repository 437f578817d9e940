/* models.h - the models that a batch asks, each at its own pace (private).
 *
 * What a provider limits it limits by model, so each has its own limit of
 * requests at once, its own rate and its own queue: one that is slow, or
 * refuses, holds up no other (B25). Beyond BELAY__MODELS_MAX names the rest
 * is one, which has no price: that a line has itself.
 */
#ifndef BELAY_LLM_BATCH_MODELS_H
#define BELAY_LLM_BATCH_MODELS_H

#include <belay/budget.h>
#include <belay/llm.h>

#include "llm/batch/limit.h"
#include "llm/batch/state.h"
#include "llm/batch/stats.h"
#include "llm/budget/rate.h"
#include "llm/budget/reserve.h"
#include "llm/money/prices.h"

#define BELAY__MODELS_MAX 256
#define BELAY__PUT_OFF_MAX 32768 /* lines, of all models together */

/* Which line of the input an output line is about. */
struct belay__line_ref {
    uint64_t number;   /* in the file, from 1 */
    uint64_t sequence; /* among the lines that are not blank, from 0 */
    struct belay_slice custom_id; /* as JSON, quotes included; empty: none */
    struct belay__model_stats *model; /* where it counts; NULL: not yet sent */
};

/* One line on its way; its slices point behind the struct. */
struct belay__item {
    struct belay__item *next;
    struct belay__item *prev;
    size_t bytes; /* of this block */
    struct belay__batch_model *model;
    struct belay__line_ref ref;
    struct belay_slice body; /* what is sent */
    struct belay__request_size size;
    bool estimated;   /* size.by_bytes is there */
    int64_t broken;   /* tokens that came of an answer without an end, about */
    int64_t first_ns; /* when it was first sent; 0: not yet */
    struct belay_price_model price;
    bool priced;         /* price is set */
    belay_time deadline; /* of the line */
    int64_t wakes_ns;    /* while it sleeps */
    uint64_t begun;      /* of the model's limit */
    uint64_t answers;    /* of the model, when it was first sent */
    uint32_t attempts;
    uint32_t retries;   /* those that count */
    uint32_t congested; /* refused although others were answered */
    bool probe;         /* it finds out whether a pause has helped */
    bool repeated;      /* the reply was no JSON, and it was asked again */
    bool charged;       /* some attempt may have been, or one of a run before */
    struct belay_reservation reservation;
    struct belay__batch_bill bill; /* of attempts so far */
    char path[];                   /* NUL-terminated, then the slices */
};

struct belay__item_list {
    struct belay__item *first;
    struct belay__item *last;
    size_t count;
};

void belay__item_list_push(
    struct belay__item_list *list, struct belay__item *item);
void belay__item_list_push_first(
    struct belay__item_list *list, struct belay__item *item);
void belay__item_list_remove(
    struct belay__item_list *list, struct belay__item *item);

/* Items by when they wake: a heap with room for all that there may be. */
struct belay__sleepers {
    struct belay__item **items;
    size_t count;
    size_t room;
};

int belay__sleepers_init(struct belay__sleepers *sleepers,
    struct belay__memory *memory, size_t room);
void belay__sleepers_fini(
    struct belay__sleepers *sleepers, struct belay__memory *memory);
/* False: there is no room, and nothing has changed. */
bool belay__sleepers_add(
    struct belay__sleepers *sleepers, struct belay__item *item);
/* The one that wakes first; NULL: there is none. */
static inline struct belay__item *
belay__sleepers_first(const struct belay__sleepers *sleepers)
{
    return sleepers->count > 0 ? sleepers->items[0] : NULL;
}
struct belay__item *belay__sleepers_take(struct belay__sleepers *sleepers);

/* A line that was read, and will be read again when its model wants it. */
struct belay__put_off {
    struct belay__put_off *next;
    uint64_t number;
    uint64_t sequence;
    uint64_t offset;
    uint64_t len;
};

struct belay__batch_model {
    struct belay__batch_model *next;
    struct belay_slice name; /* behind the struct */
    size_t bytes;            /* of this block */
    struct belay__item_list ready;
    size_t asleep;        /* items of it among the sleepers */
    size_t waiting_bytes; /* of what is ready or asleep */
    uint64_t seen;        /* the lines that were read before its last one */
    struct belay__put_off *put_off; /* a list */
    struct belay__put_off *put_off_last;
    struct belay__limit limit;
    struct belay__rate rate;
    bool rate_busy;    /* a worker waits in it; the next waits for that one */
    int64_t paused_ns; /* until then nothing is sent; 0: not paused */
    bool probing;      /* the pause is over, one has gone ahead */
    bool given_up;   /* it has answered nobody for long; it is not waited for */
    uint32_t pauses; /* without an answer in between */
    uint64_t answers;
    int64_t refused_ns; /* first refusal since the last answer; 0: none */
    struct belay__estimator estimator;
    bool is_rest; /* of several names: what is learned is true of none */
    struct belay__model_stats stats;
};

struct belay__batch_models {
    struct belay__batch_model *first;
    struct belay__batch_model *last;
    size_t count;
    size_t ready;   /* items in all of them */
    size_t put_off; /* lines in all of them */
};

/* What a new model begins with. */
struct belay__models_opts {
    belay_runtime *runtime;
    uint32_t concurrency;
    uint32_t start; /* 0: the default */
    struct belay__rate_limits rates;
};

/* The model of this name, made if need be. Errors: BELAY_ENOMEM. */
int belay__models_find(struct belay__batch_models *models,
    const struct belay__models_opts *opts, struct belay_slice name,
    struct belay__batch_model **ret);

/* Nothing is ready any more. */
void belay__models_fini(
    struct belay__batch_models *models, struct belay__memory *memory);

/* Rates end: who waits there gets BELAY_ECLOSED. */
void belay__models_close(struct belay__batch_models *models);

/* Puts a copy of the line off. Errors: BELAY_ENOMEM; BELAY_ETOOLARGE: so many
 * are put off.
 */
int belay__model_put_off(struct belay__batch_models *models,
    struct belay__memory *memory, struct belay__batch_model *model,
    const struct belay__put_off *line);
/* The first of them; there is one. */
struct belay__put_off belay__model_take_back(struct belay__batch_models *models,
    struct belay__memory *memory, struct belay__batch_model *model);

/* How many they were. */
size_t belay__models_forget_put_off(
    struct belay__batch_models *models, struct belay__memory *memory);

#endif
