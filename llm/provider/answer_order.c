/* answer_order.c - choices and calls, found by what tells them apart.
 *
 * Beside an array lie its orders: the places of its elements, sorted by a key,
 * those of one key by place. However many there are, and whatever a server
 * calls them, one is found in a few steps (L28).
 */
#include "llm/provider/answer.h"

#include <assert.h>
#include <string.h>

#define NO_PLACE SIZE_MAX /* behind all places */

struct key {
    int64_t index;
    struct belay_slice id;
    size_t place;
};

/* The element at this place against the key: < 0 if it stands before. */
typedef int compare_fn(const void *array, size_t place, const struct key *key);

/* ---- orders ---- */

/* How many elements stand before the key. */
static size_t
count_before(const struct belay__order *order, compare_fn *compare,
    const void *array, const struct key *key)
{
    size_t low = 0;
    size_t high = order->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (compare(array, order->at[middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* `first` as in fini. False: no memory. */
static bool
make_room(
    struct belay__memory *memory, struct belay__order *order, uint16_t *first)
{
    const size_t size = sizeof(*order->at);
    const size_t room = order->room < 4 ? 4 : 2 * order->room;
    uint16_t *at;

    if (order->count < order->room) {
        return true;
    }
    if (order->at == NULL && first != NULL) {
        order->at = first;
        order->room = 1;
        return true;
    }
    if (order->at == first) {
        at = belay__alloc(memory, room * size);
        if (at != NULL && first != NULL) {
            *at = *first;
        }
    } else {
        at = belay__realloc(memory, order->at, order->room * size, room * size);
    }
    if (at == NULL) {
        return false;
    }
    order->at = at;
    order->room = room;
    return true;
}

/* There is room. */
static void
insert(struct belay__order *order, compare_fn *compare, const void *array,
    const struct key *key)
{
    const size_t at = count_before(order, compare, array, key);

    memmove(order->at + at + 1, order->at + at,
        (order->count - at) * sizeof(*order->at));
    order->at[at] = (uint16_t)key->place;
    order->count++;
}

void
belay__order_fini(struct belay__memory *memory, struct belay__order *order,
    const uint16_t *first)
{
    if (order->at != first) {
        belay__free(memory, order->at, order->room * sizeof(*order->at));
    }
    *order = (struct belay__order){.at = NULL};
}

/* ---- keys ---- */

static int
compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int
compare_places(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

static int
compare_choice(const void *array, size_t place, const struct key *key)
{
    const struct belay__choice *choices = array;

    return compare_numbers(choices[place].index, key->index);
}

static int
compare_index(const void *array, size_t place, const struct key *key)
{
    const struct belay__tool *tools = array;
    const int order = compare_numbers(tools[place].index, key->index);

    return order != 0 ? order : compare_places(place, key->place);
}

static int
compare_ids(struct belay_slice a, struct belay_slice b)
{
    const size_t len = a.len < b.len ? a.len : b.len;
    const int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

    return order != 0 ? order : compare_places(a.len, b.len);
}

static int
compare_id(const void *array, size_t place, const struct key *key)
{
    const struct belay__tool *tools = array;
    const int order =
        compare_ids(belay__llm_text_slice(tools[place].id), key->id);

    return order != 0 ? order : compare_places(place, key->place);
}

/* ---- choices ---- */

struct belay__choice *
belay__choice_find(const struct belay__answer *answer, int64_t index)
{
    const struct belay__order *order = &answer->by_index;
    const struct key key = {.index = index};
    const size_t at =
        count_before(order, compare_choice, answer->choices, &key);

    if (at == order->count || answer->choices[order->at[at]].index != index) {
        return NULL;
    }
    return &answer->choices[order->at[at]];
}

bool
belay__choice_enter(struct belay__answer *answer, int64_t index)
{
    const struct key key = {.index = index, .place = answer->choice_count};

    if (!make_room(answer->memory, &answer->by_index, &answer->first_place)) {
        return false;
    }
    insert(&answer->by_index, compare_choice, answer->choices, &key);
    return true;
}

/* ---- calls ---- */

struct belay__tool *
belay__tool_of_index(const struct belay__choice *choice, int64_t index)
{
    const struct belay__order *order = &choice->by_index;
    const struct key key = {.index = index, .place = NO_PLACE};
    const size_t at = count_before(order, compare_index, choice->tools, &key);

    if (at == 0 || choice->tools[order->at[at - 1]].index != index) {
        return NULL;
    }
    return &choice->tools[order->at[at - 1]];
}

static bool
has_id(const struct belay__choice *choice, size_t place, struct belay_slice id)
{
    return compare_ids(belay__llm_text_slice(choice->tools[place].id), id) == 0;
}

struct belay__tool *
belay__tool_of_id(const struct belay__choice *choice, struct belay_slice id)
{
    const struct belay__order *order = &choice->by_id;
    const struct key key = {.id = id, .place = NO_PLACE};
    const size_t at = count_before(order, compare_id, choice->tools, &key);

    return at > 0 && has_id(choice, order->at[at - 1], id)
               ? &choice->tools[order->at[at - 1]]
               : NULL;
}

bool
belay__tool_is_first(
    const struct belay__choice *choice, const struct belay__tool *tool)
{
    const struct belay__order *order = &choice->by_id;
    const struct key key = {.id = belay__llm_text_slice(tool->id), .place = 0};
    const size_t at = count_before(order, compare_id, choice->tools, &key);

    assert(at < order->count);
    return &choice->tools[order->at[at]] == tool;
}

bool
belay__tool_enter(
    struct belay__memory *memory, struct belay__choice *choice, int64_t index)
{
    const struct key key = {.index = index, .place = choice->tool_count};

    if (index < 0) {
        return true; /* nobody asks for it by that */
    }
    if (!make_room(memory, &choice->by_index, NULL)) {
        return false;
    }
    insert(&choice->by_index, compare_index, choice->tools, &key);
    return true;
}

bool
belay__tool_enter_id(struct belay__memory *memory, struct belay__choice *choice,
    const struct belay__tool *tool)
{
    const struct key key = {.id = belay__llm_text_slice(tool->id),
        .place = (size_t)(tool - choice->tools)};

    if (!make_room(memory, &choice->by_id, NULL)) {
        return false;
    }
    insert(&choice->by_id, compare_id, choice->tools, &key);
    return true;
}

void
belay__tool_leave_id(
    struct belay__choice *choice, const struct belay__tool *tool)
{
    struct belay__order *order = &choice->by_id;
    const struct key key = {.id = belay__llm_text_slice(tool->id),
        .place = (size_t)(tool - choice->tools)};
    const size_t at = count_before(order, compare_id, choice->tools, &key);

    assert(at < order->count && order->at[at] == key.place);
    order->count--;
    memmove(order->at + at, order->at + at + 1,
        (order->count - at) * sizeof(*order->at));
}
