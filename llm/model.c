/* model.c - what a client learns about the models it asks for.
 *
 * Two short lists, the latest name in front: a client asks for few models.
 */
#include "llm/model.h"

#include "runtime/internal.h"

#include <string.h>

void
belay__llm_models_init(struct belay__llm_models *models, belay_runtime *runtime,
    const struct belay_llm_rates *rates, belay_llm_group_fn *group_fn,
    void *group_arg)
{
    *models = (struct belay__llm_models){
        .runtime = runtime,
        .limits =
            {
                .per_minute =
                    {
                        [BELAY__RATE_REQUESTS] = rates->requests,
                        [BELAY__RATE_TOKENS] = rates->tokens,
                        [BELAY__RATE_IN_TOKENS] = rates->in_tokens,
                        [BELAY__RATE_OUT_TOKENS] = rates->out_tokens,
                    },
                .burst = rates->burst,
                .ramp = rates->ramp,
            },
        .group_fn = group_fn,
        .group_arg = group_arg,
    };
}

void
belay__llm_models_close(struct belay__llm_models *models)
{
    struct belay__llm_group *group = models->groups;

    models->closed = true;
    for (; group != NULL; group = group->next) {
        belay__rate_close(&group->rate);
    }
}

void
belay__llm_models_fini(struct belay__llm_models *models)
{
    while (models->first != NULL) {
        struct belay__llm_model *model = models->first;

        models->first = model->next;
        belay__free(models->runtime->memory, model, model->bytes);
    }
    while (models->groups != NULL) {
        struct belay__llm_group *group = models->groups;

        models->groups = group->next;
        belay__rate_fini(&group->rate);
        belay__free(models->runtime->memory, group, group->bytes);
    }
}

static bool
is_name(struct belay_slice name, const char *text, size_t len)
{
    return name.len == len && (len == 0 || memcmp(name.data, text, len) == 0);
}

static struct belay__llm_group *
group_new(struct belay__llm_models *models, struct belay_slice name)
{
    const size_t bytes = sizeof(struct belay__llm_group) + name.len;
    struct belay__llm_group *group =
        belay__alloc_zero(models->runtime->memory, bytes);

    if (group == NULL) {
        return NULL;
    }
    if (belay__rate_init(&group->rate, models->runtime, &models->limits) < 0) {
        belay__free(models->runtime->memory, group, bytes);
        return NULL;
    }
    group->bytes = bytes;
    group->len = name.len;
    if (name.len > 0) {
        memcpy(group->name, name.data, name.len);
    }
    if (models->closed) {
        belay__rate_close(&group->rate);
    }
    group->next = models->groups;
    models->groups = group;
    return group;
}

int
belay__llm_model_group(struct belay__llm_models *models,
    struct belay__llm_model *model, struct belay__llm_group **ret)
{
    struct belay_slice name = {model->name, model->len};
    struct belay__llm_group *group = models->groups;

    if (model->group != NULL) {
        *ret = model->group;
        return 0;
    }
    if (models->group_fn != NULL) {
        name = models->group_fn(name, models->group_arg);
    }
    while (group != NULL && !is_name(name, group->name, group->len)) {
        group = group->next;
    }
    if (group == NULL) {
        group = group_new(models, name);
    }
    if (group == NULL) {
        return BELAY_ENOMEM;
    }
    model->group = group;
    *ret = group;
    return 0;
}

static struct belay__llm_model *
find_known(struct belay__llm_models *models, struct belay_slice name)
{
    struct belay__llm_model **link = &models->first;
    struct belay__llm_model *model;

    while ((model = *link) != NULL && !is_name(name, model->name, model->len)) {
        link = &model->next;
    }
    if (model != NULL) {
        *link = model->next;
        model->next = models->first;
        models->first = model;
    }
    return model;
}

int
belay__llm_model_find(struct belay__llm_models *models, struct belay_slice name,
    struct belay__llm_model **ret)
{
    struct belay__llm_model *model = find_known(models, name);
    size_t bytes;

    if (model == NULL && models->count >= BELAY__MODELS_MAX) {
        name = (struct belay_slice){NULL, 0}; /* the one for all others */
        model = find_known(models, name);
    }
    if (model != NULL) {
        *ret = model;
        return 0;
    }
    bytes = sizeof(*model) + name.len;
    model = belay__alloc_zero(models->runtime->memory, bytes);
    if (model == NULL) {
        return BELAY_ENOMEM;
    }
    model->bytes = bytes;
    model->len = name.len;
    if (name.len > 0) {
        memcpy(model->name, name.data, name.len);
    }
    model->next = models->first;
    models->first = model;
    models->count++;
    *ret = model;
    return 0;
}
