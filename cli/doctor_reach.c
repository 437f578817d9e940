/* doctor_reach.c - is there a model server, and which step towards it fails?
 *
 * By the client's own transport, so that what works here works there.
 */
#include "cli/doctor.h"

#include "llm/http/client.h"
#include "llm/json/text.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MODELS_MAX ((size_t)8 * 1024 * 1024)
#define KEY_MAX 4096

struct reach {
    struct belay__doctor *doctor;
    const struct belay__doctor_endpoint *endpoint;
    struct belay__http_header headers[2];
    char bearer[KEY_MAX + 8];
    struct belay__http_request request;
    struct belay__http_reply reply;
    struct belay__http *http;
    struct belay__http_endpoint *to;
    const char *why;
    int code;
};

static struct belay_slice
slice_of(const char *text)
{
    return (struct belay_slice){text, strlen(text)};
}

/* The step that an exchange has failed at. Until there is a connection no
 * more is known than what there was to do.
 */
static const char *
stage_of(const struct reach *self)
{
    const bool tls = strncmp(self->endpoint->base_url, "https:", 6) == 0;

    switch (self->reply.failure) {
    case BELAY__HTTP_RESOLVE:
        return "DNS";
    case BELAY__HTTP_CONNECT:
        return "TCP";
    case BELAY__HTTP_PROXY:
        return "proxy";
    case BELAY__HTTP_TLS:
    case BELAY__HTTP_CERTIFICATE:
        return "TLS";
    case BELAY__HTTP_TIMEOUT_CONNECT:
        return tls ? "DNS, TCP or TLS" : "DNS or TCP";
    case BELAY__HTTP_OK:
    case BELAY__HTTP_SEND:
    case BELAY__HTTP_RESET:
    case BELAY__HTTP_EMPTY:
    case BELAY__HTTP_SHORT_BODY:
    case BELAY__HTTP_STREAM:
    case BELAY__HTTP_MALFORMED:
    case BELAY__HTTP_TIMEOUT_FIRST_BYTE:
    case BELAY__HTTP_TIMEOUT_IDLE:
    case BELAY__HTTP_BODY_TOO_LARGE:
    case BELAY__HTTP_HEAD_TOO_LARGE:
        return "HTTP";
    case BELAY__HTTP_NO_MEMORY:
    case BELAY__HTTP_SINK:
    case BELAY__HTTP_BAD_REQUEST:
    case BELAY__HTTP_CLOSED:
    case BELAY__HTTP_CANCELLED:
    case BELAY__HTTP_LOCAL:
        break;
    }
    return "this side";
}

/* How many models a list has, in either family's form; -1: it is none. */
static int64_t
count_models(struct belay_slice body)
{
    struct belay__json_value key;
    struct belay__json json;
    int64_t count = -1;

    belay__json_open(&json, body);
    if (!belay__json_enter_object(&json)) {
        return -1;
    }
    while (belay__json_next_member(&json, &key)) {
        if (belay__json_key_is(&key, "data")
            && belay__json_enter_array(&json)) {
            count = 0;
            while (belay__json_next_element(&json)) {
                count++;
            }
        }
    }
    return belay__json_finish(&json) < 0 ? -1 : count;
}

static void
add(const struct reach *self, enum belay__doctor_state state, const char *what)
{
    const struct belay__http_reply *reply = &self->reply;

    belay__doctor_add(self->doctor, state, "endpoint",
        "%s: HTTP/%d%s, status %d, after %" PRId64 " ms%s%s",
        belay__http_endpoint_label(self->to), reply->version / 10,
        reply->version == 11 ? ".1" : "", reply->status,
        (reply->ended.ns - reply->started.ns) / 1000000,
        what[0] != '\0' ? ": " : "", what);
}

static void
add_answer(const struct reach *self)
{
    const bool key = self->endpoint->key != NULL;
    const int status = self->reply.status;
    int64_t models;
    char text[64];

    if (status == 401 || status == 403) {
        add(self, key ? BELAY__DOCTOR_FAIL : BELAY__DOCTOR_WARN,
            key ? "the key is not accepted" : "it wants a key");
        return;
    }
    if (status >= 300 && status < 400) {
        add(self, BELAY__DOCTOR_FAIL, "it sends elsewhere; that is not obeyed");
        return;
    }
    if (status == 404 || status == 405) {
        add(self, BELAY__DOCTOR_WARN,
            "it has no list of models; is the path right?");
        return;
    }
    if (status < 200 || status >= 300) {
        add(self, BELAY__DOCTOR_FAIL, "it does not want to answer");
        return;
    }
    models = count_models(belay__buffer_slice(&self->reply.body));
    if (models < 0) {
        add(self, BELAY__DOCTOR_WARN, "that is no list of models");
        return;
    }
    (void)snprintf(text, sizeof(text), "%" PRId64 " models", models);
    add(self, BELAY__DOCTOR_OK, text);
}

static int
open_endpoint(struct reach *self)
{
    const struct belay__doctor_endpoint *endpoint = self->endpoint;
    struct belay__http_endpoint_opts opts = {
        .url = endpoint->base_url,
        .headers = self->headers,
        .ca_file = endpoint->ca_file,
        .proxy_from_env = true,
        .allow_plain = endpoint->allow_plain,
        .insecure = endpoint->insecure,
    };

    if (endpoint->key != NULL && strlen(endpoint->key) > KEY_MAX) {
        self->why = "the key is too long";
        return BELAY_EINVAL;
    }
    if (endpoint->messages) {
        self->headers[opts.header_count++] = (struct belay__http_header){
            "anthropic-version", slice_of("2023-06-01")};
    }
    if (endpoint->key != NULL && endpoint->messages) {
        self->headers[opts.header_count++] =
            (struct belay__http_header){"x-api-key", slice_of(endpoint->key)};
    } else if (endpoint->key != NULL) {
        (void)snprintf(
            self->bearer, sizeof(self->bearer), "Bearer %s", endpoint->key);
        self->headers[opts.header_count++] = (struct belay__http_header){
            "Authorization", slice_of(self->bearer)};
    }
    return belay__http_endpoint_open(self->http, &opts, &self->to, &self->why);
}

/* Where the list is: a base of Messages is without its version (L8). */
static const char *
path_of(const struct belay__doctor_endpoint *endpoint)
{
    const size_t len = strcspn(endpoint->base_url, "?");
    const size_t end =
        len > 0 && endpoint->base_url[len - 1] == '/' ? len - 1 : len;

    if (!endpoint->messages
        || (end >= 3 && strncmp(endpoint->base_url + end - 3, "/v1", 3) == 0)) {
        return "/models";
    }
    return "/v1/models";
}

static belay_next
ask(belay_task *task, struct reach *self)
{
    const belay_duration patience = self->endpoint->patience;

    self->request = (struct belay__http_request){
        .method = "GET",
        .path = path_of(self->endpoint),
        .connect_timeout = patience,
        .tls_timeout = patience,
        .first_byte_timeout = BELAY_DURATION_NS(2 * patience.ns),
        .idle_timeout = patience,
        .max_body_bytes = MODELS_MAX,
    };
    return belay__http_perform(task, &self->to, &self->request, &self->reply);
}

static void
add_refusal(const struct reach *self)
{
    belay__doctor_add(self->doctor, BELAY__DOCTOR_FAIL, "endpoint",
        "cannot be asked: %s",
        self->why != NULL ? self->why : belay_code_text(self->code));
}

BELAY_ASYNC(reach)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        self->code = open_endpoint(self);
        if (self->code < 0) {
            add_refusal(self);
            BELAY_RETURN(NULL);
        }
        BELAY_TRY(ask(task, self));
        if (belay_result(task)->code < 0) {
            belay__doctor_add(self->doctor, BELAY__DOCTOR_FAIL, "endpoint",
                "%s: fails at %s: %s", belay__http_endpoint_label(self->to),
                stage_of(self), belay_error_message(belay_result(task)->error));
        } else {
            add_answer(self);
        }
        belay__http_reply_fini(&self->reply);
    }
    explicit_bzero(self->bearer, sizeof(self->bearer));
    BELAY_END;
}

belay_next
belay__doctor_reach(belay_task *task, struct belay__doctor *doctor,
    const struct belay__doctor_endpoint *endpoint)
{
    return BELAY_CALL(reach, .doctor = doctor, .endpoint = endpoint);
}
