/* provider.h - one format of requests and answers (private).
 *
 * A provider is a constant table: how a request is checked and written, how
 * an answer is read, whole or event by event. It has no state; what it reads
 * goes into a struct belay__answer. Readers get JSON that was checked.
 */
#ifndef BELAY_LLM_PROVIDER_PROVIDER_H
#define BELAY_LLM_PROVIDER_PROVIDER_H

#include "llm/http/sse.h"
#include "llm/provider/answer.h"
#include "llm/provider/request.h"

/* How keys are sent; two kinds of endpoints of a client. */
enum belay__auth {
    BELAY__AUTH_BEARER,
    BELAY__AUTH_X_API_KEY, /* and the version of Messages */
};
#define BELAY__AUTHS 2

/* What is asked besides the chat itself. */
struct belay__wish {
    bool stream;
    bool usage; /* … with the counts at its end (L2) */
};

struct belay__provider {
    const char *name;
    const char *path; /* behind the base */
    enum belay__auth auth;
    const char *request_id; /* the header of the answer that has it */
    bool done_word;         /* streams end with [DONE], if they say so … */
    bool ends_with_choices; /* … or when every choice has its end (L18) */
    /* What is wrong with a request, as static text; NULL: nothing. */
    const char *(*check_fn)(const struct belay_llm_chat *chat);
    /* The members of a request; it was checked. */
    void (*write_fn)(struct belay__request_writer *request,
        const struct belay_llm_chat *chat, struct belay__wish wish);
    /* A whole answer. */
    void (*read_fn)(struct belay__answer *answer, struct belay_slice body);
    /* An event of a stream. */
    void (*event_fn)(
        struct belay__answer *answer, const struct belay__sse_event *event);
};

extern const struct belay__provider belay__chat_provider;
extern const struct belay__provider belay__responses_provider;
extern const struct belay__provider belay__messages_provider;
extern const struct belay__provider belay__embeddings_provider;

/* The provider of a format, NULL if there is none; DEFAULT: Chat. */
const struct belay__provider *belay__provider_of(enum belay_llm_format format);

/* The provider that speaks at a path, by its end; otherwise Chat. */
const struct belay__provider *belay__provider_of_path(const char *path);

/* Appends the request as JSON. It was checked. Errors: BELAY_ENOMEM,
 * BELAY_ETOOLARGE; the buffer is as before.
 */
int belay__provider_build(const struct belay__provider *provider,
    const struct belay_llm_chat *chat, struct belay__wish wish,
    struct belay__buffer *buffer);

/* Reads a whole answer, which must outlive it unless it is live. Errors, as
 * in answer->code: BELAY_EREPLY it is not JSON, or not of the format's form;
 * what there is, the usage too, has been read all the same if it is JSON.
 */
int belay__provider_read(const struct belay__provider *provider,
    struct belay__answer *answer, struct belay_slice body);

/* Reads an event. Errors, as in answer->code: BELAY_EPROTO it is not JSON;
 * BELAY_EHTTP it is an error.
 */
int belay__provider_event(const struct belay__provider *provider,
    struct belay__answer *answer, const struct belay__sse_event *event);

/* ---- for the providers ---- */

/* Members that an object may have; NONE: not there. Reads only the outermost
 * level, whose names are the caller's: name[i] goes to ret[i], the last one
 * of a name counts.
 */
void belay__provider_members(struct belay_slice object,
    const char *const *names, size_t count, struct belay__json_value *ret);

/* A reason for an end. Some servers write "" or "null" as long as there is
 * none.
 */
bool belay__provider_is_reason(const struct belay__json_value *value);

/* An index as servers number things; `otherwise` if it is none. */
int64_t belay__provider_index(
    const struct belay__json_value *value, int64_t otherwise);

#endif
