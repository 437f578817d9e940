/* format.h - what the formats of the simulator are made of (private to
 * llm/sim).
 *
 * A format is a constant table. It reads a request into one form for all, and
 * writes an answer, whose content is the same in each, in its own words: whole,
 * or one step of a stream after the other.
 */
#ifndef BELAY_LLM_SIM_FORMAT_H
#define BELAY_LLM_SIM_FORMAT_H

#include "llm/json/scan.h"
#include "llm/json/write.h"
#include "llm/sim/faults.h"

#define BELAY__SIM_CREATED 1700000000 /* always, so that replies repeat */

struct belay__sim_exchange;

struct belay__sim_dice {
    uint64_t state;
};

/* What will happen to a request. */
struct belay__sim_fate {
    belay__sim_faults faults;
    double where; /* in the answer it breaks off; 0 to 1 */
    belay_duration latency;
    uint64_t id; /* for the ids in the reply */
};

/* ---- requests ---- */

enum belay__sim_tool_choice {
    BELAY__SIM_TOOL_AUTO,
    BELAY__SIM_TOOL_NONE,
    BELAY__SIM_TOOL_ANY,
};

/* A request in any format. Slices are of its body. */
struct belay__sim_request {
    struct belay_slice model;  /* JSON, with its quotes */
    struct belay_slice prompt; /* inside the last content of a user */
    uint64_t prompt_tokens;    /* words in all contents */
    uint64_t max_tokens;       /* UINT64_MAX if there is no limit */
    size_t wrong_at;           /* where it is not JSON; SIZE_MAX: it is */
    bool stream;
    bool include_usage;
    bool answered;                /* the last message is what a tool has said */
    struct belay_slice tools;     /* JSON, or empty */
    struct belay_slice tool_name; /* the one that must be called, or empty */
    enum belay__sim_tool_choice tool_choice;
    struct belay_slice input; /* of embeddings; JSON */
    uint64_t inputs;
    uint32_t dimensions; /* 0: not told */
    bool base64;
};

/* What one pass has found, beside the request. */
struct belay__sim_reading {
    struct belay__sim_request *request;
    const char *wrong; /* what is not as it should be, or NULL */
    bool messages;
    bool model;
    bool limit;
};

/* ---- answers ---- */

#define BELAY__SIM_WORD_MAX 24

/* The words of an answer, one after the other. */
struct belay__sim_words {
    struct belay__sim_dice dice;
    struct belay_slice prompt; /* must live as long */
    bool begun;
};

/* A call of a tool; JSON, the name and the id without quotes. */
struct belay__sim_tool_call {
    struct belay_slice id; /* empty: one is made up */
    struct belay_slice name;
    struct belay_slice arguments;
};

/* What is answered: words or a text, then calls of tools. */
struct belay__sim_answer {
    struct belay__sim_words words;
    const struct belay_slice *pieces; /* of a text that was given, or NULL */
    uint64_t text_tokens;
    bool has_text;  /* there is a text, if only an empty one */
    bool cut_short; /* by the limit of the request */
    const struct belay__sim_tool_call *calls;
    size_t call_count;
    struct belay__sim_tool_call made; /* a call that is not of a script */
    uint64_t tokens;                  /* all of them */
};

enum belay__sim_step_kind {
    BELAY__SIM_STEP_START,
    BELAY__SIM_STEP_OPEN,  /* of the text, or of a call */
    BELAY__SIM_STEP_DELTA, /* a piece of it */
    BELAY__SIM_STEP_CLOSE,
    BELAY__SIM_STEP_STOP, /* why it ends */
    BELAY__SIM_STEP_USAGE,
    BELAY__SIM_STEP_DONE,
    BELAY__SIM_STEP_OVER, /* no step any more */
};

/* A step of a stream, and with it how far it is. */
struct belay__sim_step {
    enum belay__sim_step_kind kind;
    size_t part;       /* 0: the text, if there is one; then the calls */
    uint64_t piece;    /* of the part */
    uint64_t pieces;   /* of all parts, so far */
    uint64_t sequence; /* number of the next event, where these are told */
};

/* An error: what it is about, in the words of the format. */
struct belay__sim_error {
    int status;
    struct belay_slice type; /* empty: as the status has it */
    struct belay_slice code;
    const char *message;
    const char *request_id;
    uint64_t sequence; /* of the event, where these are told */
};

struct belay__sim_format {
    const char *name;
    unsigned number; /* for counts */
    const char *path;
    const char *request_id; /* the header with the id of an answer */
    bool x_api_key;         /* where keys are: there, or Authorization */
    /* A member of the request that not all of its kind have; takes its value
     * or leaves it.
     */
    void (*member_fn)(struct belay__json *json,
        const struct belay__json_value *key,
        struct belay__sim_reading *reading);
    /* What is missing, or NULL. */
    const char *(*missing_fn)(const struct belay__sim_reading *reading);
    /* The whole answer. */
    void (*write_fn)(
        struct belay__json_writer *json, struct belay__sim_exchange *exchange);
    /* The events of a step, none or several; NULL: it is no conversation, and
     * has neither streams nor tools.
     */
    int (*step_fn)(struct belay__buffer *buffer,
        struct belay__sim_exchange *exchange, struct belay__sim_step *step);
    void (*error_fn)(
        struct belay__json_writer *json, const struct belay__sim_error *error);
    /* An error within a stream: an event. */
    int (*error_event_fn)(
        struct belay__buffer *buffer, const struct belay__sim_error *error);
};

extern const struct belay__sim_format belay__sim_chat_format;
extern const struct belay__sim_format belay__sim_responses_format;
extern const struct belay__sim_format belay__sim_messages_format;
extern const struct belay__sim_format belay__sim_embeddings_format;

/* An error in the form that all of OpenAI's formats share. */
void belay__sim_put_openai_error(
    struct belay__json_writer *json, const struct belay__sim_error *error);

/* ---- request.c ---- */

/* Reads a request's body. NULL if it is a good request; else what is wrong
 * with it, static text, and ret->wrong_at if that has a place.
 */
const char *belay__sim_read(const struct belay__sim_format *format,
    struct belay_slice body, struct belay__sim_request *ret);

/* For the formats. Each consumes the value before the cursor or leaves it. */
void belay__sim_read_limit(
    struct belay__json *json, struct belay__sim_reading *reading);
bool belay__sim_read_bool(struct belay__json *json,
    struct belay__sim_reading *reading, const char *wrong);
/* Messages, in the forms of Chat, of Responses and of Messages alike. */
void belay__sim_read_messages(
    struct belay__json *json, struct belay__sim_reading *reading);
/* A content that is a string or an array of parts; of those, the texts. */
void belay__sim_read_content(struct belay__json *json, struct belay_slice *ret,
    struct belay__sim_reading *reading);

/* ---- tools.c ---- */

/* Draws a call of one of the tools that the request offers, with arguments of
 * its schema. The arguments are in the buffer. False: it offers none.
 */
bool belay__sim_make_call(const struct belay__sim_request *request,
    struct belay__sim_dice *dice, struct belay__sim_words *words,
    struct belay__buffer *buffer, struct belay__sim_tool_call *ret);

/* The n-th piece of arguments, and how many there are. */
struct belay_slice belay__sim_arguments_piece(
    struct belay_slice arguments, uint64_t n);
uint64_t belay__sim_arguments_pieces(struct belay_slice arguments);

/* ---- words.c ---- */

void belay__sim_words_init(
    struct belay__sim_words *words, uint64_t seed, struct belay_slice prompt);
/* Writes the next word, a blank before all but the first, and returns its
 * length. Only letters and digits: no JSON string needs an escape for it.
 */
size_t belay__sim_next_word(
    struct belay__sim_words *words, char ret[BELAY__SIM_WORD_MAX + 1]);

/* ---- put.c ---- */

/* A string with all of the answer's text, or with its n-th piece. The pieces
 * are asked for in their order.
 */
void belay__sim_put_text(
    struct belay__json_writer *json, struct belay__sim_exchange *exchange);
void belay__sim_put_piece(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, uint64_t n);
/* A prefix of at most 31 bytes and 16 digits. */
#define BELAY__SIM_HEX_BYTES 48
void belay__sim_hex(
    const char *prefix, uint64_t number, char ret[BELAY__SIM_HEX_BYTES]);
/* Members. The id is made of the exchange's, and of a number. */
void belay__sim_put_id(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, const char *key,
    const char *prefix, uint64_t number);
void belay__sim_put_call_id(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, const char *key,
    const char *prefix, size_t call);
void belay__sim_put_string(
    struct belay__json_writer *json, const char *key, const char *value);
/* The inside of a JSON string as one. */
void belay__sim_put_inside(
    struct belay__json_writer *json, const char *key, struct belay_slice value);
void belay__sim_put_int(
    struct belay__json_writer *json, const char *key, uint64_t value);
void belay__sim_put_null(struct belay__json_writer *json, const char *key);
/* JSON text as a string. */
void belay__sim_put_json(
    struct belay__json_writer *json, const char *key, struct belay_slice value);

/* Of answer.c: the call that a step is about; NULL: it is about the text. */
const struct belay__sim_tool_call *belay__sim_step_call(
    const struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step, size_t *ret_index);

/* Tokens of the prompt that are told as cached. */
uint64_t belay__sim_cached(const struct belay__sim_exchange *exchange);
uint64_t belay__sim_reasoning(const struct belay__sim_exchange *exchange);
/* What the script gives in place of a usage or a reason to end; empty: none. */
struct belay_slice belay__sim_given_usage(
    const struct belay__sim_exchange *exchange);
struct belay_slice belay__sim_given_end(
    const struct belay__sim_exchange *exchange);

/* An event: begin, the JSON of its data, end. kind NULL: it has no name. */
int belay__sim_event_begin(struct belay__buffer *buffer,
    struct belay__json_writer *json, const char *kind);
int belay__sim_event_end(struct belay__json_writer *json);

#endif
