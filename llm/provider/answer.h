/* answer.h - what a model answers, put together (private).
 *
 * The readers of all formats write into one of these, from a whole answer or
 * from one event of a stream after the other, so that both give the same. If
 * `live` is set, each thing that is new is also noted as a delta, for the
 * stream's user. Errors stick in `code`: after the first nothing is added.
 * Rules: L1, L6, L7, L21, L22, L27, L48.
 */
#ifndef BELAY_LLM_PROVIDER_ANSWER_H
#define BELAY_LLM_PROVIDER_ANSWER_H

#include <belay/llm_stream.h>

#include "llm/json/scan.h"
#include "llm/money/tier.h"
#include "llm/provider/usage.h"
#include "llm/text.h"
#include "runtime/buffer.h"

#define BELAY__CHOICES_MAX 1024
#define BELAY__TOOLS_MAX 1024 /* of a choice */
#define BELAY__WORD_MAX 48

/* A short text of the server's, cut if it is not short. */
struct belay__word {
    size_t len;
    char text[BELAY__WORD_MAX];
};

/* Text of a JSON: of a whole answer it is a place in the body, of an event,
 * which goes away, a copy.
 */
struct belay__kept {
    struct belay_slice span;
    struct belay__llm_text *copy;
};

/* A text that may break off between the halves of a character (L27). */
struct belay__stretch {
    struct belay__llm_text *text; /* NULL: none */
    uint32_t high;
};

enum belay__stretch_kind {
    BELAY__TEXT,
    BELAY__REFUSAL,
    BELAY__REASONING,
};
#define BELAY__STRETCHES 3

/* Places of an array's elements, sorted by one of their keys. */
struct belay__order {
    uint16_t *at;
    size_t count;
    size_t room;
};

struct belay__tool {
    int64_t index; /* the server's; -1: not told */
    struct belay__llm_text *id;
    struct belay__llm_text *name;
    struct belay__stretch arguments;
};

struct belay__choice {
    int64_t index;
    struct belay__stretch stretches[BELAY__STRETCHES];
    struct belay__tool *tools;
    size_t tool_count;
    size_t tool_room;
    struct belay__order by_index; /* those calls that have one */
    struct belay__order by_id;    /* … that have one */
    enum belay_llm_end end;
    struct belay__word end_word;
    bool ended;
    bool has_content; /* of Chat: not only what old Completions call a text */
};

/* Something new, as a place in the texts, which may still move. */
struct belay__delta {
    enum belay_llm_event_type type;
    uint32_t choice;
    uint32_t tool;
    size_t at;
    size_t len;
};

struct belay__answer {
    struct belay__memory *memory; /* borrowed */
    struct belay_slice request;   /* its JSON, until it is closed; or empty */
    bool live;
    int code;      /* 0; BELAY_ENOMEM; BELAY_EREPLY: not of the format's form;
                 BELAY_EHTTP: an error in the place of an answer */
    bool finished; /* the format's own end has come */
    int64_t other_block; /* Messages: where the newest block began that may have
                            input and is no call of ours; -1: nowhere … */
    bool other_blocks;   /* … and whether there was any */
    struct belay__choice *choices; /* in the order of their arrival */
    size_t choice_count;
    size_t choice_room;
    struct belay__choice first; /* room for the usual one … */
    struct belay__order by_index;
    uint16_t first_place;            /* … and its place */
    struct belay__llm_text *scratch; /* for a short text that has escapes */
    struct belay__usage_counts counts;
    struct belay__kept usage;    /* as it stands there */
    struct belay__kept model;    /* decoded; with escapes it is a copy even of
                                    a whole answer */
    struct belay__tier tier;     /* by which it is charged */
    struct belay__buffer deltas; /* of struct belay__delta */
    size_t deltas_taken;
    /* With BELAY_EHTTP: what is wrong. */
    int error_status; /* the HTTP status that it amounts to */
    bool error_is_quota;
    struct belay__word error_type;
    struct belay__llm_text *error_message;
};

void belay__answer_init(
    struct belay__answer *answer, struct belay__memory *memory, bool live);
/* Zeroed is fine. */
void belay__answer_fini(struct belay__answer *answer);

/* ---- for the readers ---- */

/* The choice with that index, made if need be; NULL after an error. */
struct belay__choice *belay__answer_choice(
    struct belay__answer *answer, int64_t index);

/* A string that is not empty. */
bool belay__answer_says(const struct belay__json_value *value);

/* Appends what is a string; anything else counts as not there. */
void belay__answer_text(struct belay__answer *answer,
    struct belay__choice *choice, enum belay__stretch_kind kind,
    const struct belay__json_value *value);

/* The call with that index, or, without one (-1), that id; made if need be.
 * Another id at the same index is another call (L7). id NULL: not told.
 * NULL after an error.
 */
struct belay__tool *belay__answer_tool(struct belay__answer *answer,
    struct belay__choice *choice, int64_t index,
    const struct belay__json_value *id);
/* A further call, whatever there is already. */
struct belay__tool *belay__answer_new_tool(struct belay__answer *answer,
    struct belay__choice *choice, int64_t index,
    const struct belay__json_value *id);
/* The first name counts. */
void belay__answer_tool_name(struct belay__answer *answer,
    struct belay__choice *choice, struct belay__tool *tool,
    const struct belay__json_value *name);
/* A string with a piece of the arguments; or, for a value of any type, the
 * arguments as they stand in the text.
 */
void belay__answer_arguments(struct belay__answer *answer,
    struct belay__choice *choice, struct belay__tool *tool,
    const struct belay__json_value *piece);
void belay__answer_raw_arguments(struct belay__answer *answer,
    struct belay__choice *choice, struct belay__tool *tool,
    struct belay_slice raw);

/* The choice has ended; `word` may be of any type. */
void belay__answer_end(struct belay__answer *answer,
    struct belay__choice *choice, enum belay_llm_end end,
    const struct belay__json_value *word);

/* A usage object, or a further one that replaces what it says again (L48). */
void belay__answer_usage(struct belay__answer *answer, struct belay_slice raw);

void belay__answer_model(
    struct belay__answer *answer, const struct belay__json_value *model);

/* The service tier; what names none changes nothing. */
void belay__answer_tier(
    struct belay__answer *answer, const struct belay__json_value *tier);

/* An error object in the place of an answer. */
void belay__answer_error(struct belay__answer *answer, struct belay_slice body);

/* Nothing more will come: what is open is closed, and calls that have no id,
 * or that of another one, get one of ours. Once more does nothing.
 */
void belay__answer_close(struct belay__answer *answer);
/* For that: a call without an id of its own could not be answered. It gets the
 * first of "call_0", "call_1", ... that no other call of the choice has, nor
 * the request, and that is behind all of the request's that have at most nine
 * digits. Errors: BELAY_ENOMEM.
 */
int belay__answer_name_calls(struct belay__answer *answer);

/* ---- which choice, which call (answer_order.c) ---- */

/* `first`: NULL, or where an order of one place may lie. */
void belay__order_fini(struct belay__memory *memory, struct belay__order *order,
    const uint16_t *first);

/* Of what is found NULL: there is none; of what enters false: no memory. */
struct belay__choice *belay__choice_find(
    const struct belay__answer *answer, int64_t index);
/* The next one, which is not there yet. */
bool belay__choice_enter(struct belay__answer *answer, int64_t index);

/* The newest one that has the index, at least 0, or the id. */
struct belay__tool *belay__tool_of_index(
    const struct belay__choice *choice, int64_t index);
struct belay__tool *belay__tool_of_id(
    const struct belay__choice *choice, struct belay_slice id);
/* Has no older one its id, with which it has entered? */
bool belay__tool_is_first(
    const struct belay__choice *choice, const struct belay__tool *tool);
/* The next one, which is not there yet; then its id, once it has one. */
bool belay__tool_enter(
    struct belay__memory *memory, struct belay__choice *choice, int64_t index);
bool belay__tool_enter_id(struct belay__memory *memory,
    struct belay__choice *choice, const struct belay__tool *tool);
/* Before that changes. */
void belay__tool_leave_id(
    struct belay__choice *choice, const struct belay__tool *tool);

/* ---- for those who read ---- */

/* The n-th choice by index; NULL: there is none. */
struct belay__choice *belay__answer_nth(struct belay__answer *answer, size_t n);
struct belay_slice belay__stretch_slice(
    const struct belay__choice *choice, enum belay__stretch_kind kind);
/* Does that end mean that what was said before it may not be whole? A refusal
 * may come in the middle. Not of BELAY_LLM_END_UNKNOWN, whose word nobody here
 * knows.
 */
bool belay__llm_end_cuts(enum belay_llm_end end);
/* Every choice has its end, and there are as many at least. */
bool belay__answer_ended(const struct belay__answer *answer, size_t choices);
/* The usage as far as it is known. */
void belay__answer_get_usage(
    const struct belay__answer *answer, struct belay_llm_usage *ret);
/* The oldest delta that was not taken; false if there is none. *ret is good
 * until something is added.
 */
bool belay__answer_take(
    struct belay__answer *answer, struct belay_llm_event *ret);

/* Appends what there is as JSON, as a whole answer of Chat has it; see
 * answer_write.c. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE; nothing has changed.
 */
int belay__answer_write(
    struct belay__answer *answer, struct belay__buffer *buffer);

#endif
