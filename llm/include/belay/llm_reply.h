/* llm_reply.h - what a model server has answered.
 *
 * A reply is the caller's. It keeps the bytes as they came; what they say is
 * read on the first question and remembered. It may outlive its client and
 * its runtime. Rules: L1, L9, L29, L45-L48, L91-L97.
 */
#ifndef BELAY_LLM_REPLY_H
#define BELAY_LLM_REPLY_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

typedef struct belay_llm_reply belay_llm_reply; /* opaque; the caller's */

/* Has the server charged for an attempt? */
enum belay_llm_billed {
    BELAY_LLM_BILLED_NO,      /* it refused, or never had the request */
    BELAY_LLM_BILLED_YES,     /* it answered 2xx */
    BELAY_LLM_BILLED_UNKNOWN, /* it had the request; no answer came back */
};

/* How one attempt of a call went. */
struct belay_llm_attempt {
    uint32_t number;       /* from 1 */
    int status;            /* of HTTP; 0: no whole answer */
    int code;              /* 0, or why there is none */
    belay_time started;    /* on the runtime's clock */
    belay_time first_byte; /* 0: none came */
    belay_time ended;
    uint64_t sent_bytes; /* of the body */
    enum belay_llm_billed billed;
    bool quota;           /* the account has run out, nothing helps (L31) */
    bool retryable;       /* trying again may help (L30, L31) */
    bool will_retry;      /* … and it will be, `delay` from now, unless the
                             call itself ends before: it is cancelled, or does
                             not get what an attempt needs (L34) */
    belay_duration delay; /* if retryable: what the server asked for, else the
                             back-off; 0 if not */
};

/**
 * belay_llm_reply_free - the end of a reply
 *
 *   reply  NULL is legal
 *
 * Owner:   the reply is gone, with all that its accessors gave.
 * Errors:  none.
 * Threads: loop thread; also after the client's or the runtime's end.
 * Since:   0.1. Source: style.md 2.2.
 */
BELAY_API void belay_llm_reply_free(belay_llm_reply *reply);

/**
 * belay_llm_reply_status - the HTTP status of the answer
 *
 *   reply  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none; at least 100.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1.
 */
BELAY_API int belay_llm_reply_status(const belay_llm_reply *reply);

/**
 * belay_llm_reply_body - the bytes of the answer, as the server sent them
 *
 *   reply  not NULL
 *
 * Owner:   lives as long as the reply.
 * Errors:  none; may be empty.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1, L93.
 */
BELAY_API struct belay_slice belay_llm_reply_body(const belay_llm_reply *reply);

/**
 * belay_llm_reply_header - the value of one header of the answer
 *
 *   reply  not NULL
 *   name   in any case; "x-request-id", of Messages "request-id", is the
 *          request's id
 *
 * Owner:   lives as long as the reply.
 * Errors:  none; {NULL, 0} if there is none. Of several it is the first.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1, L63.
 */
BELAY_API struct belay_slice belay_llm_reply_header(
    const belay_llm_reply *reply, const char *name);

/**
 * belay_llm_reply_attempt - the attempt that brought the answer
 *
 *   reply  not NULL
 *
 * Its number is the count of attempts.
 *
 * Owner:   lives as long as the reply.
 * Errors:  none; never NULL.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L29.
 */
BELAY_API const struct belay_llm_attempt *belay_llm_reply_attempt(
    const belay_llm_reply *reply);

/* Why the answer ends (L1). */
enum belay_llm_end {
    BELAY_LLM_END_UNKNOWN, /* not said, or not known here */
    BELAY_LLM_END_STOP,
    BELAY_LLM_END_LENGTH, /* the limit of tokens was reached */
    BELAY_LLM_END_TOOL,   /* it wants a tool called */
    BELAY_LLM_END_FILTER,
    BELAY_LLM_END_REFUSAL,
    BELAY_LLM_END_PAUSE,
    BELAY_LLM_END_CONTEXT_FULL,
};

/* How good the numbers of a usage are. */
enum belay_llm_usage_state {
    BELAY_LLM_USAGE_UNKNOWN,   /* the server did not say; all are -1 */
    BELAY_LLM_USAGE_EXACT,     /* the server's, of the whole answer */
    BELAY_LLM_USAGE_ESTIMATED, /* the server does not say: from the texts */
    BELAY_LLM_USAGE_PARTIAL,   /* the answer broke off: the server's as far as
                                  it came, the rest from the texts (L44) */
};

/* Tokens, as the server counts them; -1: it did not say (L45, L47). */
struct belay_llm_usage {
    int64_t in_total; /* what follows with in_ included */
    int64_t in_cache_read;
    int64_t in_cache_write_5m;
    int64_t in_cache_write_1h;
    int64_t in_audio;
    int64_t out_total; /* what follows with out_ included */
    int64_t out_reasoning;
    int64_t out_audio;
    int64_t requests;       /* 1, or 0 if the answer holds no usage */
    struct belay_slice raw; /* the usage object as JSON; lives with the reply */
    enum belay_llm_usage_state state;
};

/**
 * belay_llm_reply_parse - is the answer a completion?
 *
 *   reply  not NULL
 *
 * Parses on the first call and remembers; the accessors below do so too.
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_EREPLY  it is not JSON, or has no choices; the usage may be
 *                        known all the same
 *          BELAY_ENOMEM  no memory for the text; a later call tries again
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L9, L91-L96.
 */
BELAY_API int belay_llm_reply_parse(belay_llm_reply *reply);

/**
 * belay_llm_reply_text - the content of the first choice, decoded
 *
 *   reply  not NULL
 *
 * Owner:   lives as long as the reply; also NUL-terminated, and may hold NULs.
 * Errors:  none; {NULL, 0} if there is none or parsing failed.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1, L92.
 */
BELAY_API struct belay_slice belay_llm_reply_text(belay_llm_reply *reply);

/**
 * belay_llm_reply_refusal - what the model said instead of an answer, decoded
 *
 *   reply  not NULL
 *
 * Owner:   as belay_llm_reply_text().
 * Errors:  none; {NULL, 0} if there is none or parsing failed.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1.
 */
BELAY_API struct belay_slice belay_llm_reply_refusal(belay_llm_reply *reply);

/**
 * belay_llm_reply_end - why the first choice ends
 *
 *   reply     not NULL
 *   ret_text  NULL, or receives the server's word for it, as it stands in
 *             the JSON, without quotes; {NULL, 0} if there is none
 *
 * Owner:   *ret_text lives as long as the reply.
 * Errors:  none.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1.
 */
BELAY_API enum belay_llm_end belay_llm_reply_end(
    belay_llm_reply *reply, struct belay_slice *ret_text);

/**
 * belay_llm_reply_usage - the tokens that the answer has cost
 *
 *   reply  not NULL
 *
 * Owner:   lives as long as the reply.
 * Errors:  none; never NULL. All -1 if the answer does not say.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L45, L47.
 */
BELAY_API const struct belay_llm_usage *belay_llm_reply_usage(
    belay_llm_reply *reply);

/* A call of a tool that the model asks for. */
struct belay_llm_tool_call {
    struct belay_slice id; /* for the message with the result; where the server
                              gave it none, or another call's: one of ours, as
                              "call_0", of a chat one that no call in its
                              request has */
    struct belay_slice name;
    struct belay_slice arguments; /* JSON, as the model wrote it: to be checked
                                     before it is used */
};

/* One of the answers; most requests ask for one only (L6). */
struct belay_llm_choice {
    int64_t index; /* the server's */
    struct belay_slice text;
    struct belay_slice refusal;
    struct belay_slice reasoning; /* what of its thinking the server shows */
    size_t tool_call_count;
    enum belay_llm_end end;
    struct belay_slice end_text; /* the server's word for it; 48 bytes of it */
};

/**
 * belay_llm_reply_choices - how many answers there are
 *
 *   reply  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none; 0 if parsing failed.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L6.
 */
BELAY_API size_t belay_llm_reply_choices(belay_llm_reply *reply);

/**
 * belay_llm_reply_choice - one of the answers, decoded
 *
 *   reply  not NULL
 *   n      from 0, in the order of their indexes
 *   ret    receives it; untouched on failure
 *
 * Owner:   what *ret points to lives as long as the reply; the reply of a
 *          stream: until its next event.
 * Errors:  BELAY_ENOENT  there is no such answer
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1, L6.
 */
BELAY_API int belay_llm_reply_choice(
    belay_llm_reply *reply, size_t n, struct belay_llm_choice *ret);

/**
 * belay_llm_reply_tool_call - a tool that one of the answers calls
 *
 *   reply   not NULL
 *   choice  as for belay_llm_reply_choice()
 *   n       from 0, in the model's order
 *   ret     receives it; untouched on failure
 *
 * Owner:   as belay_llm_reply_choice().
 * Errors:  BELAY_ENOENT  there is no such answer or call
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L1, L7.
 */
BELAY_API int belay_llm_reply_tool_call(belay_llm_reply *reply, size_t choice,
    size_t n, struct belay_llm_tool_call *ret);

/**
 * belay_llm_reply_model - the model that has answered
 *
 *   reply  not NULL
 *
 * Owner:   lives as long as the reply.
 * Errors:  none; {NULL, 0} if the server does not say.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L74.
 */
BELAY_API struct belay_slice belay_llm_reply_model(belay_llm_reply *reply);

/**
 * belay_llm_reply_take_text - keep the text, free the reply
 *
 *   reply  NULL is legal and gives NULL
 *
 * Owner:   the text, NUL-terminated, is the caller's, for
 *          belay_llm_text_free(); the reply is gone in any case.
 * Errors:  NULL if there is no text or parsing failed; cannot be after
 *          belay_llm_complete() unless the answer has none.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: api.md.
 */
BELAY_API char *belay_llm_reply_take_text(belay_llm_reply *reply);

/**
 * belay_llm_text_free - the end of a text from belay_llm_reply_take_text()
 *
 *   text  NULL is legal
 *
 * Owner:   the text is gone.
 * Errors:  none.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: style.md 2.6.
 */
BELAY_API void belay_llm_text_free(char *text);

BELAY_END_DECLS

#endif
