/* error.c - the errors of calls, in words.
 *
 * A message names the server by its address without secrets and quotes what
 * the server said, made printable and without secrets (S2, S8, L9).
 */
#include "llm/error.h"

#include "llm/http/client.h"
#include "llm/json/text.h"
#include "llm/printable.h"
#include "llm/provider/error.h"
#include "runtime/internal.h"

#include <inttypes.h>
#include <stdio.h>

#define QUOTE_BYTES 512
#define DETAIL_BYTES 96

static belay_error *error_new(const belay_task *task, int line, int code,
    const char *format, ...) BELAY_PRINTF(4, 5);

static belay_error *
error_new(const belay_task *task, int line, int code, const char *format, ...)
{
    const struct belay__error_site site = {
        belay_task_name(task), __FILE__, line};
    belay_error *error;
    va_list args;

    va_start(args, format);
    error = belay__error_new_va(
        belay_task_runtime(task)->memory, code, &site, format, args);
    va_end(args);
    return error;
}

/* Of the attempt that was made last. */
static const struct belay__secrets *
secrets_of(const struct belay__llm_tries *tries)
{
    return belay__llm_account_secrets(&tries->account);
}

/* " after 3 attempts", or nothing for the first one. */
static const char *
attempts_text(
    const struct belay_llm_attempt *attempt, char text[static DETAIL_BYTES])
{
    text[0] = '\0';
    if (attempt->number > 1) {
        (void)snprintf(
            text, DETAIL_BYTES, " after %" PRIu32 " attempts", attempt->number);
    }
    return text;
}

/* What the exchange says of itself, "no connection: Connection refused", which
 * the code does not: many things are no connection.
 */
static const char *
reason_of(const belay_error *cause, int code)
{
    const char *reason = cause != NULL ? belay__http_error_reason(cause) : NULL;

    return reason != NULL ? reason : belay_code_text(code);
}

belay_error *
belay__llm_error_silent(const belay_task *task,
    const struct belay__llm_tries *tries, int code, belay_error *cause)
{
    char attempts[DETAIL_BYTES];
    belay_error *error = error_new(task, __LINE__, code,
        "no answer from '%s'%s: %s", belay__llm_client_label(tries->client),
        attempts_text(&tries->reply->attempt, attempts),
        reason_of(cause, code));

    if (error != NULL && cause != NULL) {
        belay__error_set_cause(error, belay_error_ref(cause));
    }
    return error;
}

belay_error *
belay__llm_error_key(
    const belay_task *task, const belay_llm_client *client, int code)
{
    switch (code) {
    case BELAY_EAUTH:
        return error_new(task, __LINE__, code,
            "request cannot be sent: there is no key for '%s'",
            belay__llm_client_label(client));
    case BELAY_EINVAL:
        return error_new(task, __LINE__, code,
            "request cannot be sent: its key is not fit for a header");
    case BELAY_ECLOSED:
        return error_new(task, __LINE__, code, "the client is being left");
    default:
        return NULL;
    }
}

/* ---- statuses ---- */

int
belay__llm_status_code(const struct belay_llm_attempt *attempt)
{
    if (attempt->quota) {
        return BELAY_EQUOTA;
    }
    return attempt->status == 401 || attempt->status == 403 ? BELAY_EAUTH
                                                            : BELAY_EHTTP;
}

/* What the server says is wrong, unescaped; its whole body if there is no
 * such text. *ret_block is to be freed with ret_size; NULL if it is not used.
 */
static struct belay_slice
server_text(const belay_llm_reply *reply, char **ret_block, size_t *ret_size)
{
    const struct belay_slice body = belay_llm_reply_body(reply);
    struct belay__provider_error error;
    struct belay_slice text = {NULL, 0};

    *ret_block = NULL;
    belay__provider_error_parse(body, &error);
    if (error.message.type != BELAY__JSON_STRING) {
        return body;
    }
    *ret_size = error.message.raw.len;
    *ret_block = belay__alloc(reply->memory, *ret_size);
    if (*ret_block != NULL) {
        text.data = *ret_block;
        text.len = belay__json_decode(error.message.raw, *ret_block);
    }
    return text;
}

static void
quote_server(
    const struct belay__llm_tries *tries, char quote[static QUOTE_BYTES])
{
    const belay_llm_reply *reply = tries->reply;
    char *block;
    size_t size;
    const struct belay_slice text = server_text(reply, &block, &size);

    (void)belay__printable(text, secrets_of(tries), quote, QUOTE_BYTES);
    if (block != NULL) {
        belay__free(reply->memory, block, size);
    }
}

/* "; it asks to wait 3600 s" if that is why there was no further attempt. */
static const char *
asked_text(const belay_llm_client *client,
    const struct belay_llm_attempt *attempt, char text[static DETAIL_BYTES])
{
    text[0] = '\0';
    if (attempt->retryable && attempt->delay.ns > client->policy.after_cap_ns) {
        (void)snprintf(text, DETAIL_BYTES, "; it asks to wait %" PRId64 " s",
            attempt->delay.ns / 1000000000);
    }
    return text;
}

belay_error *
belay__llm_error_status(
    const belay_task *task, const struct belay__llm_tries *tries)
{
    const belay_llm_reply *reply = tries->reply;
    const struct belay_llm_attempt *attempt = &reply->attempt;
    char quote[QUOTE_BYTES];
    char attempts[DETAIL_BYTES];
    char asked[DETAIL_BYTES];
    belay_error *error;

    quote_server(tries, quote);
    error = error_new(task, __LINE__, belay__llm_status_code(attempt),
        "'%s' answered %d%s%s%s%s", belay__llm_client_label(tries->client),
        attempt->status, attempts_text(attempt, attempts),
        quote[0] != '\0' ? ": " : "", quote,
        asked_text(tries->client, attempt, asked));
    if (error != NULL) {
        belay__error_set_foreign(error, "HTTP", attempt->status);
    }
    return error;
}

/* ---- streams ---- */

/* The server's word for what is wrong, unless it was cut: it may then end in
 * the middle of a secret.
 */
static struct belay_slice
word_of(const struct belay__answer *answer)
{
    const struct belay__word *word = &answer->error_type;

    return (struct belay_slice){
        word->text, word->len < sizeof(word->text) ? word->len : 0};
}

belay_error *
belay__llm_error_stream(
    const belay_task *task, const struct belay__llm_tries *tries)
{
    const belay_llm_reply *reply = tries->reply;
    const struct belay_llm_attempt *attempt = &reply->attempt;
    const struct belay__answer *answer = &reply->answer;
    char quote[QUOTE_BYTES];
    char word[DETAIL_BYTES];
    char attempts[DETAIL_BYTES];
    char asked[DETAIL_BYTES];
    belay_error *error;

    (void)belay__printable(belay__llm_text_slice(answer->error_message),
        secrets_of(tries), quote, sizeof(quote));
    (void)belay__printable(
        word_of(answer), secrets_of(tries), word, sizeof(word));
    error = error_new(task, __LINE__, belay__llm_status_code(attempt),
        "'%s' broke off with %d%s%s%s%s%s%s",
        belay__llm_client_label(tries->client), attempt->status,
        word[0] != '\0' ? " " : "", word, attempts_text(attempt, attempts),
        quote[0] != '\0' ? ": " : "", quote,
        asked_text(tries->client, attempt, asked));
    if (error != NULL) {
        belay__error_set_foreign(error, "HTTP", attempt->status);
    }
    return error;
}

belay_error *
belay__llm_error_broken(
    const belay_task *task, const struct belay__llm_tries *tries, int code)
{
    char attempts[DETAIL_BYTES];
    const char *why = belay_code_text(code);

    if (code == BELAY_EPROTO) {
        why = "an event is not JSON";
    } else if (code == BELAY_ETRUNCATED) {
        why = "it ends without an end of the answer";
    }
    return error_new(task, __LINE__, code, "the stream of '%s' is broken%s: %s",
        belay__llm_client_label(tries->client),
        attempts_text(&tries->reply->attempt, attempts), why);
}

belay_error *
belay__llm_error_shape(
    const belay_task *task, const struct belay__llm_tries *tries)
{
    char quote[QUOTE_BYTES];

    (void)belay__printable(belay_llm_reply_body(tries->reply),
        secrets_of(tries), quote, sizeof(quote));
    return error_new(task, __LINE__, BELAY_EREPLY,
        "the answer of '%s' is not a completion%s%s",
        belay__llm_client_label(tries->client), quote[0] != '\0' ? ": " : "",
        quote);
}
