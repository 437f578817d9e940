/* models.c - the models that a batch asks, each at its own pace. */
#include "llm/batch/models.h"

#include <string.h>

#include "runtime/internal.h"

#define SLOT sizeof(struct belay__item *) /* of a sleeper */

/* ---- lists ---- */

void
belay__item_list_push(struct belay__item_list *list, struct belay__item *item)
{
    item->next = NULL;
    item->prev = list->last;
    if (list->last != NULL) {
        list->last->next = item;
    } else {
        list->first = item;
    }
    list->last = item;
    list->count++;
}

void
belay__item_list_push_first(
    struct belay__item_list *list, struct belay__item *item)
{
    item->prev = NULL;
    item->next = list->first;
    if (list->first != NULL) {
        list->first->prev = item;
    } else {
        list->last = item;
    }
    list->first = item;
    list->count++;
}

void
belay__item_list_remove(struct belay__item_list *list, struct belay__item *item)
{
    if (item->prev != NULL) {
        item->prev->next = item->next;
    } else {
        list->first = item->next;
    }
    if (item->next != NULL) {
        item->next->prev = item->prev;
    } else {
        list->last = item->prev;
    }
    list->count--;
}

/* ---- sleepers ---- */

int
belay__sleepers_init(
    struct belay__sleepers *sleepers, struct belay__memory *memory, size_t room)
{
    sleepers->items = belay__alloc(memory, room * SLOT);
    if (sleepers->items == NULL) {
        return BELAY_ENOMEM;
    }
    sleepers->room = room;
    return 0;
}

void
belay__sleepers_fini(
    struct belay__sleepers *sleepers, struct belay__memory *memory)
{
    belay__free(memory, sleepers->items, sleepers->room * SLOT);
    *sleepers = (struct belay__sleepers){.items = NULL};
}

bool
belay__sleepers_add(struct belay__sleepers *sleepers, struct belay__item *item)
{
    size_t at = sleepers->count;

    if (at >= sleepers->room) {
        return false;
    }
    sleepers->count++;
    while (at > 0 && sleepers->items[(at - 1) / 2]->wakes_ns > item->wakes_ns) {
        sleepers->items[at] = sleepers->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sleepers->items[at] = item;
    return true;
}

struct belay__item *
belay__sleepers_take(struct belay__sleepers *sleepers)
{
    struct belay__item *first = sleepers->items[0];
    struct belay__item *last = sleepers->items[--sleepers->count];
    size_t at = 0;
    size_t child;

    while ((child = 2 * at + 1) < sleepers->count) {
        if (child + 1 < sleepers->count
            && sleepers->items[child + 1]->wakes_ns
                   < sleepers->items[child]->wakes_ns) {
            child++;
        }
        if (last->wakes_ns <= sleepers->items[child]->wakes_ns) {
            break;
        }
        sleepers->items[at] = sleepers->items[child];
        at = child;
    }
    sleepers->items[at] = last;
    return first;
}

/* ---- models ---- */

static bool
has_name(const struct belay__batch_model *model, struct belay_slice name)
{
    return model->name.len == name.len
           && (name.len == 0
               || memcmp(model->name.data, name.data, name.len) == 0);
}

static struct belay__batch_model *
model_new(const struct belay__models_opts *opts, struct belay_slice name)
{
    struct belay__memory *memory = opts->runtime->memory;
    const size_t bytes = sizeof(struct belay__batch_model) + name.len;
    struct belay__batch_model *model = belay__alloc_zero(memory, bytes);

    if (model == NULL) {
        return NULL;
    }
    if (belay__rate_init(&model->rate, opts->runtime, &opts->rates) < 0) {
        belay__free(memory, model, bytes);
        return NULL;
    }
    if (name.len > 0) {
        memcpy(model + 1, name.data, name.len);
    }
    model->bytes = bytes;
    model->name = (struct belay_slice){(const char *)(model + 1), name.len};
    belay__limit_init(&model->limit, opts->start, opts->concurrency);
    return model;
}

int
belay__models_find(struct belay__batch_models *models,
    const struct belay__models_opts *opts, struct belay_slice name,
    struct belay__batch_model **ret)
{
    struct belay__batch_model *model = models->first;

    while (model != NULL && !has_name(model, name)) {
        model = model->next;
    }
    if (model == NULL && models->count >= BELAY__MODELS_MAX) {
        model = models->last;
        model->is_rest = true;
        model->name = BELAY__REST;
    }
    if (model == NULL) {
        model = model_new(opts, name);
        if (model == NULL) {
            return BELAY_ENOMEM;
        }
        if (models->last != NULL) {
            models->last->next = model;
        } else {
            models->first = model;
        }
        models->last = model;
        models->count++;
    }
    *ret = model;
    return 0;
}

void
belay__models_close(struct belay__batch_models *models)
{
    struct belay__batch_model *model;

    for (model = models->first; model != NULL; model = model->next) {
        belay__rate_close(&model->rate);
    }
}

void
belay__models_fini(
    struct belay__batch_models *models, struct belay__memory *memory)
{
    struct belay__batch_model *model;

    (void)belay__models_forget_put_off(models, memory);
    while ((model = models->first) != NULL) {
        assert(model->ready.count == 0);
        models->first = model->next;
        belay__rate_fini(&model->rate);
        belay__free(memory, model, model->bytes);
    }
    *models = (struct belay__batch_models){.first = NULL};
}

int
belay__model_put_off(struct belay__batch_models *models,
    struct belay__memory *memory, struct belay__batch_model *model,
    const struct belay__put_off *line)
{
    struct belay__put_off *copy;

    if (models->put_off >= BELAY__PUT_OFF_MAX) {
        return BELAY_ETOOLARGE;
    }
    copy = belay__alloc(memory, sizeof(*copy));
    if (copy == NULL) {
        return BELAY_ENOMEM;
    }
    *copy = *line;
    copy->next = NULL;
    if (model->put_off == NULL) {
        model->put_off = copy;
    } else {
        model->put_off_last->next = copy;
    }
    model->put_off_last = copy;
    models->put_off++;
    return 0;
}

struct belay__put_off
belay__model_take_back(struct belay__batch_models *models,
    struct belay__memory *memory, struct belay__batch_model *model)
{
    struct belay__put_off *first = model->put_off;
    const struct belay__put_off line = *first;

    model->put_off = first->next;
    models->put_off--;
    belay__free(memory, first, sizeof(*first));
    return line;
}

size_t
belay__models_forget_put_off(
    struct belay__batch_models *models, struct belay__memory *memory)
{
    struct belay__batch_model *model = models->first;
    const size_t count = models->put_off;

    for (; model != NULL; model = model->next) {
        while (model->put_off != NULL) {
            (void)belay__model_take_back(models, memory, model);
        }
    }
    return count;
}
