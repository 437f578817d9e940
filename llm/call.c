/* call.c - one call that is answered in one piece: attempts, the waits
 * between them, its end.
 *
 *   start -> attempt -> perform -> judge -> end
 *               ^                    |
 *               +------- wait -------+
 *
 * Between attempt and perform a call may have to be admitted, see account.h.
 *
 * A call counts in client->calls from when it is made, which may be a turn
 * before its first step, to its last one, so that the client outlives it.
 */
#include "llm/attempt.h"
#include "llm/error.h"
#include "llm/provider/embeddings.h"
#include "llm/stream.h"
#include "runtime/internal.h"

#include <string.h>

#define REQUEST_MAX ((size_t)64 * 1024 * 1024)
#define MESSAGES_AT_ONCE 21333 /* tokens: ten minutes at 128,000 an hour */

/* What was asked for; all but the first are read. */
enum kind {
    KIND_BYTES,
    KIND_CHAT,
    KIND_EMBED,
};

struct call {
    struct belay__llm_tries tries;
    belay_llm_reply **ret;
    const struct belay__provider *provider;
    const char *path;
    struct belay_slice body;
    enum kind kind;
    union {
        struct belay_llm_chat chat;
        struct belay_llm_embed embed;
    } ask;
    struct belay__buffer built; /* the body, if it was not given */
};

static belay_next call_attempt(belay_task *task, struct call *call);

/* ---- ending ---- */

static void
release(struct call *call)
{
    belay__buffer_fini(&call->built);
    belay__llm_tries_end(&call->tries);
    call->tries.client->calls--;
}

static belay_next
end_well(belay_task *task, struct call *call)
{
    belay_llm_reply *reply = call->tries.reply;

    call->tries.reply = NULL;
    reply->request = (struct belay_slice){NULL, 0};
    *call->ret = reply;
    release(call);
    return belay_return(task, reply);
}

/* `error` NULL: there is no memory for more than the code. */
static belay_next
end_badly(belay_task *task, struct call *call, int code, belay_error *error)
{
    release(call);
    return error != NULL ? belay_fail_with(task, error)
                         : belay_fail(task, code, NULL);
}

static belay_next
end_cancelled(belay_task *task, struct call *call)
{
    release(call);
    return belay_pass(task);
}

/* `code`: 0, or why there is no answer or none that is of use. */
static belay_next
call_end(belay_task *task, struct call *call, int code)
{
    const belay_llm_reply *reply = call->tries.reply;
    belay_error *error = NULL;

    if (reply->attempt.code < 0) {
        error = belay__llm_error_silent(
            task, &call->tries, code, belay_result(task)->error);
        return end_badly(task, call, code, error);
    }
    if (call->kind != KIND_BYTES
        && (reply->attempt.status < 200 || reply->attempt.status > 299)) {
        code = belay__llm_status_code(&reply->attempt);
        error = belay__llm_error_status(task, &call->tries);
        return end_badly(task, call, code, error);
    }
    if (code == BELAY_EREPLY) {
        error = belay__llm_error_shape(task, &call->tries);
    }
    return code < 0 ? end_badly(task, call, code, error) : end_well(task, call);
}

/* ---- judging ---- */

/* Is the answer of use? It has a status of 2xx. */
static int
read_answer(struct call *call)
{
    belay_llm_reply *reply = call->tries.reply;
    int code = belay_llm_reply_parse(reply);

    if (code == 0 && call->kind == KIND_EMBED) {
        code = belay__vectors_read(reply->memory, belay_llm_reply_body(reply),
            call->ask.embed.input_count, &reply->vectors);
    }
    return code;
}

/* Whether to try again; *code becomes that of the answer if it is of no use. */
static enum belay__llm_verdict
judge(struct call *call, int *code)
{
    const int status = call->tries.reply->attempt.status;

    if (*code < 0 || status < 200 || status > 299) {
        return belay__llm_judge(&call->tries, *code);
    }
    if (call->kind == KIND_BYTES) {
        return BELAY__LLM_NEVER;
    }
    *code = read_answer(call);
    if (*code == BELAY_EHTTP) {
        *code = 0;
        belay__llm_record_error(&call->tries);
        return belay__llm_judge(&call->tries, 0);
    }
    return *code == BELAY_EREPLY ? BELAY__LLM_ONCE : BELAY__LLM_NEVER;
}

/* ---- the loop ---- */

static belay_next
call_again(belay_task *task, void *self)
{
    struct call *call = self;
    const struct belay_result *result = belay_result(task);

    if (result->cancelled) {
        return end_cancelled(task, call);
    }
    if (result->code < 0) {
        return end_badly(
            task, call, result->code, belay_error_ref(result->error));
    }
    return call_attempt(task, call);
}

static belay_next
call_judge(belay_task *task, void *self)
{
    struct call *call = self;
    int code = belay_result(task)->code;
    enum belay__llm_verdict verdict;
    bool again;

    belay__llm_record(&call->tries, code);
    verdict = judge(call, &code);
    call->tries.account.code = code;
    again = belay__llm_plan(task, &call->tries, verdict);
    if (belay_result(task)->cancelled) {
        return end_cancelled(task, call);
    }
    if (!again) {
        return call_end(task, call, code);
    }
    belay__llm_reply_clear(call->tries.reply);
    return belay_then(task, call_again, belay__llm_wait(task, &call->tries));
}

static belay_next
call_perform(belay_task *task, struct call *call)
{
    struct belay__http_request request = belay__llm_http_request(&call->tries);

    request.path = call->path;
    request.body = call->body;
    call->tries.reply->provider = call->provider;
    if (call->kind == KIND_CHAT) {
        call->tries.reply->request = call->body;
    }
    return belay_then(task, call_judge,
        belay__http_perform(task,
            &call->tries.account.access->endpoints[call->provider->auth],
            &request, &call->tries.reply->http));
}

static belay_next
call_admitted(belay_task *task, void *self)
{
    struct call *call = self;
    const struct belay_result *result = belay_result(task);

    if (result->cancelled) {
        return end_cancelled(task, call);
    }
    return result->code < 0 ? end_badly(
               task, call, result->code, belay_error_ref(result->error))
                            : call_perform(task, call);
}

/* Without anything to pass but the key. */
static belay_next
call_perform_now(belay_task *task, struct call *call)
{
    const belay_llm_client *client = call->tries.client;
    const int code = belay__llm_tries_take_key(&call->tries);

    return code < 0 ? end_badly(
               task, call, code, belay__llm_error_key(task, client, code))
                    : call_perform(task, call);
}

static belay_next
call_attempt(belay_task *task, struct call *call)
{
    if (belay__llm_tries_free(&call->tries)) {
        return call_perform_now(task, call);
    }
    return belay_then(task, call_admitted,
        belay__llm_tries_admit(task, &call->tries, call->provider));
}

/* ---- starting ---- */

static size_t
add_size(size_t size, size_t len)
{
    if (len > REQUEST_MAX - size) {
        return size;
    }
    size += len + len / 16 + 64;
    return size < REQUEST_MAX ? size : REQUEST_MAX;
}

/* Room for the whole request, so that it is written in one go. */
static size_t
size_guess(const struct call *call)
{
    const struct belay_llm_chat *chat = &call->ask.chat;
    size_t size = 256;

    if (call->kind == KIND_EMBED) {
        for (size_t i = 0; i < call->ask.embed.input_count; i++) {
            size = add_size(size, call->ask.embed.inputs[i].len);
        }
        return size;
    }
    for (size_t i = 0; i < chat->message_count; i++) {
        size = add_size(size, chat->messages[i].content.len);
    }
    return size;
}

static int
build_body(struct call *call)
{
    static const struct belay__wish plain = {.stream = false};
    int code;

    belay__buffer_init(&call->built, call->tries.client->memory, REQUEST_MAX);
    code = belay__buffer_reserve(&call->built, size_guess(call));
    if (code == 0 && call->kind == KIND_EMBED) {
        code = belay__embed_build(&call->ask.embed, &call->built);
    } else if (code == 0) {
        code = belay__provider_build(
            call->provider, &call->ask.chat, plain, &call->built);
    }
    call->body = belay__buffer_slice(&call->built);
    return code;
}

static const char *
check_call(const struct call *call)
{
    const char *why = belay__llm_tries_check(&call->tries);

    if (why == NULL && call->provider == NULL) {
        why = "there is no such format";
    }
    if (why == NULL && call->kind == KIND_CHAT && call->body.len == 0) {
        why = call->provider->check_fn(&call->ask.chat);
    } else if (why == NULL && call->kind == KIND_EMBED) {
        why = belay__embed_check(&call->ask.embed);
    }
    return why;
}

/* The model that was asked for, if that is not for the body to say. */
static struct belay_slice
name_of(const struct call *call)
{
    const char *name = NULL;

    if (call->kind == KIND_CHAT && call->ask.chat.body.len == 0) {
        name = call->ask.chat.model;
    } else if (call->kind == KIND_EMBED) {
        name = call->ask.embed.model;
    }
    return (struct belay_slice){name, name != NULL ? strlen(name) : 0};
}

static belay_next
call_start(belay_task *task, void *self)
{
    struct call *call = self;
    const char *why = check_call(call);
    int code;

    if (why != NULL) {
        call->tries.client->calls--;
        return belay_fail(
            task, BELAY_EINVAL, "request cannot be sent: %s", why);
    }
    code = belay__llm_tries_begin(task, &call->tries);
    if (code < 0) {
        call->tries.client->calls--;
        return belay_fail(task, code,
            code == BELAY_ECLOSED ? "the client is being left" : NULL);
    }
    call->tries.account.size.no_output =
        call->kind == KIND_EMBED
        || call->provider == &belay__embeddings_provider;
    if (call->path == NULL) {
        call->path = call->provider->path;
    }
    if (call->kind != KIND_BYTES && call->body.len == 0) {
        code = build_body(call);
    }
    call->tries.account.body = call->body;
    call->tries.account.checked = call->body.data == call->built.data;
    call->tries.account.name = name_of(call);
    return code < 0 ? end_badly(task, call, code, NULL)
                    : call_attempt(task, call);
}

static belay_next
call_begin(belay_task *task, const struct call *call)
{
    static const belay_function function = {
        "llm call", __FILE__, sizeof(struct call), call_start, 0};
    const belay_next next = belay_call(task, &function, call);

    if (next.how == BELAY__HOW_CALL) {
        call->tries.client->calls++; /* its first step may be a turn away */
    }
    return next;
}

belay_next
belay_llm_send(belay_task *task, belay_llm_client *client,
    const struct belay_llm_request *request, belay_llm_reply **ret)
{
    if (request->size != sizeof(*request)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return call_begin(
        task, &(const struct call){
                  .tries = {.client = client,
                      .on_attempt = request->on_attempt,
                      .arg = request->arg,
                      .account.ledger = request->ledger,
                      .max_retries = request->max_retries},
                  .ret = ret,
                  .provider = request->path != NULL
                                  ? belay__provider_of_path(request->path)
                                  : belay__provider_of(client->format),
                  .path = request->path,
                  .body = request->body,
              });
}

/* Messages that may take longer than a server keeps silent (L3). */
static bool
wants_stream(
    const struct belay__provider *provider, const struct belay_llm_chat *chat)
{
    return provider == &belay__messages_provider && chat->body.len == 0
           && belay__request_limit(chat, "max_tokens") > MESSAGES_AT_ONCE;
}

belay_next
belay_llm_complete(belay_task *task, belay_llm_client *client,
    const struct belay_llm_chat *chat, belay_llm_reply **ret)
{
    const struct belay__provider *provider;

    if (chat->size != sizeof(*chat)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    provider = belay__provider_of(chat->format != BELAY_LLM_FORMAT_DEFAULT
                                      ? chat->format
                                      : client->format);
    if (wants_stream(provider, chat)) {
        return belay__llm_complete_streamed(task, client, chat, ret);
    }
    return call_begin(task, &(const struct call){
                                .tries = {.client = client,
                                    .on_attempt = chat->on_attempt,
                                    .arg = chat->arg,
                                    .account.ledger = chat->ledger,
                                    .account.turn = chat->turn,
                                    .max_retries = chat->max_retries},
                                .ret = ret,
                                .provider = provider,
                                .body = chat->body,
                                .kind = KIND_CHAT,
                                .ask.chat = *chat,
                            });
}

belay_next
belay_llm_embed(belay_task *task, belay_llm_client *client,
    const struct belay_llm_embed *embed, belay_llm_reply **ret)
{
    if (embed->size != sizeof(*embed)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return call_begin(task, &(const struct call){
                                .tries = {.client = client,
                                    .on_attempt = embed->on_attempt,
                                    .arg = embed->arg,
                                    .account.ledger = embed->ledger,
                                    .max_retries = embed->max_retries},
                                .ret = ret,
                                .provider = &belay__embeddings_provider,
                                .kind = KIND_EMBED,
                                .ask.embed = *embed,
                            });
}
