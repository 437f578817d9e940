/* model.h - what a client learns about the models it asks for (private).
 *
 * One entry per name: how its server counts tokens, how long its answers are,
 * and the group with which it shares its rates. Entries are made when a name
 * is first seen and stay until the client is left; of names beyond a number
 * that no honest client reaches, one entry serves all. Rules: L52, L60.
 */
#ifndef BELAY_LLM_MODEL_H
#define BELAY_LLM_MODEL_H

#include <belay/llm.h>

#include "llm/budget/estimate.h"
#include "llm/budget/rate.h"

#define BELAY__MODELS_MAX 256

struct belay__llm_group {
    struct belay__llm_group *next;
    struct belay__rate rate;
    size_t bytes; /* of the block */
    size_t len;
    char name[];
};

struct belay__llm_model {
    struct belay__llm_model *next;
    struct belay__llm_group *group; /* NULL until it is asked for */
    struct belay__estimator estimator;
    size_t bytes; /* of the block */
    size_t len;
    char name[];
};

struct belay__llm_models {
    belay_runtime *runtime;
    struct belay__rate_limits limits; /* of each group */
    belay_llm_group_fn *group_fn;     /* NULL: each model is its own group */
    void *group_arg;
    struct belay__llm_model *first;
    struct belay__llm_group *groups;
    size_t count;
    bool closed;
};

void belay__llm_models_init(struct belay__llm_models *models,
    belay_runtime *runtime, const struct belay_llm_rates *rates,
    belay_llm_group_fn *group_fn, void *group_arg);
/* Those who wait for a rate, and who come from now on, get BELAY_ECLOSED. */
void belay__llm_models_close(struct belay__llm_models *models);
/* Nothing is taken from any group any more. {0} is fine. */
void belay__llm_models_fini(struct belay__llm_models *models);

/* The entry of a name, made if need be; lives as long as the models. Errors:
 * BELAY_ENOMEM, *ret is untouched.
 */
int belay__llm_model_find(struct belay__llm_models *models,
    struct belay_slice name, struct belay__llm_model **ret);

/* The group of a model, made if need be. Errors: as above. */
int belay__llm_model_group(struct belay__llm_models *models,
    struct belay__llm_model *model, struct belay__llm_group **ret);

#endif
