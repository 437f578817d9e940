/* row.c - what is handed to the writer, made of a call's words.
 *
 * What must not be written is taken out here, before anything is queued.
 */
#include "llm/record/row.h"

#include "llm/provider/usage.h"
#include "llm/record/state.h"
#include "llm/secret.h"
#include "runtime/internal.h"

#include <time.h>

#define BLOCK_BYTES ((size_t)64 * 1024)
#define SPARE_BLOCKS 64 /* what a commit of default size gives back at once */

int64_t
belay__unix_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- blocks ---- */

static struct belay__row_block *
take_block(belay_recorder *recorder, size_t size)
{
    struct belay__row_block *block = recorder->spare;

    if (block != NULL && size <= BLOCK_BYTES) {
        recorder->spare = block->next;
        recorder->spare_count--;
        return block;
    }
    size = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    block = belay__alloc(recorder->memory, size);
    if (block != NULL) {
        *block = (struct belay__row_block){
            .size = size, .used = sizeof(struct belay__row_block)};
    }
    return block;
}

/* No row lies in it. A large one was made for one large row. */
static void
give_block(belay_recorder *recorder, struct belay__row_block *block)
{
    if (block->size > BLOCK_BYTES || recorder->spare_count == SPARE_BLOCKS) {
        belay__free(recorder->memory, block, block->size);
        return;
    }
    block->used = sizeof(*block);
    block->next = recorder->spare;
    recorder->spare = block;
    recorder->spare_count++;
}

/* A block with so much room. That its rows come back empties one that is not
 * written to any more. A large one is for a single row: with small rows between
 * large ones each of the small would hold a block otherwise.
 */
static struct belay__row_block *
block_for(belay_recorder *recorder, size_t room)
{
    struct belay__row_block *block = recorder->block;

    if (block != NULL && room <= block->size - block->used) {
        return block;
    }
    block = take_block(recorder, sizeof(*block) + room);
    if (block != NULL && block->size == BLOCK_BYTES) {
        recorder->block = block;
    }
    return block;
}

/* Room for a row of so many bytes, which counts in its block from now on. */
static struct belay__row *
row_alloc(
    belay_recorder *recorder, size_t bytes, struct belay__row_block **ret_block)
{
    const size_t mask = _Alignof(struct belay__row) - 1;
    struct belay__row_block *block;
    struct belay__row *row;
    size_t room;

    if (bytes > SIZE_MAX - sizeof(*block) - mask) {
        return NULL;
    }
    room = (bytes + mask) & ~mask;
    block = block_for(recorder, room);
    if (block == NULL) {
        return NULL;
    }
    row = (struct belay__row *)(void *)((char *)block + block->used);
    block->used += room;
    block->rows++;
    *ret_block = block;
    return row;
}

void
belay__row_free(belay_recorder *recorder, struct belay__row *row)
{
    struct belay__row_block *block = row->block;

    if (--block->rows > 0) {
        return;
    }
    if (block == recorder->block) {
        recorder->block = NULL;
    }
    give_block(recorder, block);
}

void
belay__row_free_blocks(belay_recorder *recorder)
{
    struct belay__row_block *block;

    while ((block = recorder->spare) != NULL) {
        recorder->spare = block->next;
        belay__free(recorder->memory, block, block->size);
    }
    recorder->spare_count = 0;
}

/* ---- rows ---- */

static size_t
texts_len(const struct belay__row *row)
{
    size_t len = 0;

    for (int i = 0; i < BELAY__TEXT_COUNT; i++) {
        len += row->texts[i].len;
    }
    return len;
}

static void
redact(const belay_recorder *recorder, struct belay_slice *text)
{
    size_t len;

    if (recorder->opts.redact != NULL && text->len > 0) {
        len = recorder->opts.redact(
            belay__without_const(text->data), text->len, recorder->opts.arg);
        text->len = len < text->len ? len : text->len;
    }
}

/* A row of its own, with copies of all texts; NULL without memory. `cut`: the
 * body may have been; an error's message may quote what was.
 */
static struct belay__row *
row_new(belay_recorder *recorder, const struct belay__row *model, bool cut,
    const struct belay__secrets *secrets)
{
    const size_t bytes = sizeof(*model) + texts_len(model);
    struct belay__row_block *block;
    struct belay__row *row = row_alloc(recorder, bytes, &block);
    char *to;

    if (row == NULL) {
        return NULL;
    }
    *row = *model;
    row->block = block;
    row->bytes = bytes;
    to = (char *)(row + 1);
    for (int i = 0; i < BELAY__TEXT_COUNT; i++) {
        const size_t len = model->texts[i].len;
        const bool is_body = i == BELAY__TEXT_BODY;
        bool found = belay__secrets_hide(secrets, model->texts[i], to);

        if (i == BELAY__TEXT_MESSAGE || (is_body && cut)) {
            found |= belay__secrets_mark_begun(
                secrets, model->texts[i], '*', to, len);
        }
        /* What was a number may be none any more. */
        row->checked &= !(found && is_body);
        row->texts[i].data = len > 0 ? to : NULL;
        to += len;
    }
    redact(recorder, &row->texts[BELAY__TEXT_BODY]);
    redact(recorder, &row->texts[BELAY__TEXT_MESSAGE]);
    return row;
}

static struct belay_slice
slice_of(const char *text)
{
    return (struct belay_slice){text, text != NULL ? strlen(text) : 0};
}

/* What is not to be kept. Servers quote prompts in their errors. */
static void
leave_out(const belay_recorder *recorder, struct belay__row *row)
{
    if (recorder->opts.text == BELAY_RECORD_NO_TEXT) {
        row->texts[BELAY__TEXT_BODY] = (struct belay_slice){NULL, 0};
    }
    if (recorder->opts.text != BELAY_RECORD_TEXT) {
        row->texts[BELAY__TEXT_MESSAGE] = (struct belay_slice){NULL, 0};
    }
}

/* What is said at the start, where it lies now. */
static struct belay__row
start_model(
    const belay_recorder *recorder, const struct belay__record_start *start)
{
    struct belay__row row = {
        .kind = BELAY__ROW_START,
        .number = start->number,
        .checked = start->checked && recorder->opts.redact == NULL,
        .texts =
            {
                [BELAY__TEXT_SESSION] = slice_of(start->session),
                [BELAY__TEXT_TURN] = slice_of(start->turn),
                [BELAY__TEXT_PARENT_TURN] = slice_of(start->parent_turn),
                [BELAY__TEXT_ENDPOINT] = slice_of(start->endpoint),
                [BELAY__TEXT_PROVIDER] = slice_of(start->provider),
                [BELAY__TEXT_MODEL] = start->model,
                [BELAY__TEXT_BODY] = start->body,
            },
    };

    leave_out(recorder, &row);
    return row;
}

size_t
belay__row_start_bytes(
    const belay_recorder *recorder, const struct belay__record_start *start)
{
    const struct belay__row row = start_model(recorder, start);

    return sizeof(row) + texts_len(&row);
}

struct belay__row *
belay__row_start(belay_recorder *recorder,
    const struct belay__record_start *start, const char *attempt)
{
    struct belay__row row = start_model(recorder, start);

    row.started_us = belay__unix_us();
    memcpy(row.attempt, attempt, sizeof(row.attempt));
    return row_new(recorder, &row, false, start->secrets);
}

/* The time of something on the runtime's clock; 0: it has not happened. */
static int64_t
wall_us(int64_t now_us, belay_time now, belay_time then)
{
    return then.ns == 0 ? 0 : now_us - (now.ns - then.ns) / 1000;
}

struct belay__row *
belay__row_end(belay_recorder *recorder, const struct belay__record_end *end,
    const char *attempt)
{
    const int64_t now_us = belay__unix_us();
    const struct belay_llm_attempt *how = end->attempt;
    struct belay__row row = {
        .kind = BELAY__ROW_END,
        .status = end->status,
        .checked = end->checked && recorder->opts.redact == NULL,
        .ended_us = now_us,
        .cost = end->cost,
        .texts =
            {
                [BELAY__TEXT_MODEL] = end->model,
                [BELAY__TEXT_BODY] = end->body,
                [BELAY__TEXT_REQUEST_ID] = end->request_id,
                [BELAY__TEXT_MESSAGE] = end->message,
                [BELAY__TEXT_END] = end->end,
            },
    };

    memcpy(row.attempt, attempt, sizeof(row.attempt));
    leave_out(recorder, &row);
    if (how != NULL) {
        row.http_status = how->status;
        row.code = how->code;
        row.billed = how->billed;
        row.first_byte_us = wall_us(now_us, end->now, how->first_byte);
        row.ended_us = wall_us(now_us, end->now, how->ended);
    }
    row.usage = end->usage != NULL ? *end->usage : belay__usage_unknown;
    row.usage.raw = (struct belay_slice){NULL, 0};
    return row_new(recorder, &row, end->cut, end->secrets);
}
