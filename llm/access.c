/* access.c - a key, and the connections that are made with it. */
#include "llm/access.h"

#include "llm/client.h"
#include "runtime/internal.h"

#include <assert.h>
#include <string.h>

#define AUTH_SCHEME "Bearer "
#define MESSAGES_VERSION "2023-06-01"
#define HEADERS_MAX 3
#define USER_AGENT "belay/0.1"

/* Empty if there is none. */
static struct belay_slice
key_of(const struct belay__llm_access *access)
{
    const size_t scheme_len = sizeof(AUTH_SCHEME) - 1;

    if (access->authorization == NULL) {
        return (struct belay_slice){NULL, 0};
    }
    return (struct belay_slice){access->authorization + scheme_len,
        access->authorization_size - 1 - scheme_len};
}

/* ---- making ---- */

static int
set_key(
    belay_llm_client *client, struct belay__llm_access *access, const char *key)
{
    const size_t scheme_len = sizeof(AUTH_SCHEME) - 1;
    size_t size;

    if (key == NULL) {
        return 0;
    }
    size = scheme_len + strlen(key) + 1;
    access->authorization = belay__alloc(client->memory, size);
    if (access->authorization == NULL) {
        return BELAY_ENOMEM;
    }
    access->authorization_size = size;
    memcpy(access->authorization, AUTH_SCHEME, scheme_len);
    memcpy(access->authorization + scheme_len, key, size - scheme_len);
    return belay__secrets_add(&access->secrets, key_of(access));
}

/* Few headers, and short ones: libcurl spends about a hundred instructions on
 * each of their bytes.
 */
static size_t
write_headers(const belay_llm_client *client,
    const struct belay__llm_access *access, enum belay__auth auth,
    struct belay__http_header headers[static HEADERS_MAX])
{
    const char *agent =
        client->user_agent != NULL ? client->user_agent : USER_AGENT;
    size_t count = 0;

    headers[count++] =
        (struct belay__http_header){"User-Agent", {agent, strlen(agent)}};
    if (auth == BELAY__AUTH_X_API_KEY) {
        headers[count++] = (struct belay__http_header){
            "anthropic-version", {MESSAGES_VERSION, strlen(MESSAGES_VERSION)}};
        if (access->authorization != NULL) {
            headers[count++] =
                (struct belay__http_header){"x-api-key", key_of(access)};
        }
    } else if (access->authorization != NULL) {
        headers[count++] = (struct belay__http_header){"Authorization",
            {access->authorization, access->authorization_size - 1}};
    }
    return count;
}

static void
close_endpoints(struct belay__llm_access *access)
{
    for (size_t i = 0; i < BELAY__AUTHS; i++) {
        belay__http_endpoint_close(access->endpoints[i]);
        access->endpoints[i] = NULL;
    }
}

static void
access_free(belay_llm_client *client, struct belay__llm_access *access)
{
    close_endpoints(access);
    belay__secrets_fini(&access->secrets);
    if (access->authorization != NULL) {
        explicit_bzero(access->authorization, access->authorization_size);
        belay__free(
            client->memory, access->authorization, access->authorization_size);
    }
    belay__free(client->memory, access, sizeof(*access));
}

static int
access_new(
    belay_llm_client *client, const char *key, struct belay__llm_access **ret)
{
    struct belay__llm_access *access =
        belay__alloc_zero(client->memory, sizeof(*access));
    int code;

    if (access == NULL) {
        return BELAY_ENOMEM;
    }
    access->secrets.memory = client->memory;
    code = set_key(client, access, key);
    if (code < 0) {
        access_free(client, access);
        return code;
    }
    *ret = access;
    return 0;
}

/* It is the client's newest one from now on. */
static void
push(belay_llm_client *client, struct belay__llm_access *access)
{
    access->next = client->accesses;
    client->accesses = access;
}

int
belay__llm_access_open(belay_llm_client *client,
    const struct belay_llm_client_opts *opts, const char **ret_why)
{
    struct belay__http_header headers[HEADERS_MAX];
    struct belay__http_endpoint_opts endpoint = {
        .url = opts->base_url,
        .headers = headers,
        .ca_file = opts->ca_file,
        .proxy = opts->proxy,
        .no_proxy = opts->no_proxy,
        .proxy_from_env = opts->proxy_from_env,
        .allow_plain = opts->allow_plain_http,
        .insecure = opts->insecure,
    };
    struct belay__llm_access *access;
    int code = access_new(client, opts->api_key, &access);

    if (code < 0) {
        return code;
    }
    for (size_t i = 0; code == 0 && i < BELAY__AUTHS; i++) {
        endpoint.header_count =
            write_headers(client, access, (enum belay__auth)i, headers);
        code = belay__http_endpoint_open(
            client->http, &endpoint, &access->endpoints[i], ret_why);
    }
    if (code == 0) {
        code = belay__http_endpoint_secrets(
            access->endpoints[0], &access->secrets);
    }
    if (code < 0) {
        access_free(client, access);
        return code;
    }
    push(client, access);
    return 0;
}

/* ---- another key ---- */

/* One like the others, with another key. */
static int
add(belay_llm_client *client, const char *key)
{
    const struct belay__llm_access *like = client->accesses;
    struct belay__http_header headers[HEADERS_MAX];
    struct belay__llm_access *access;
    int code = access_new(client, key, &access);

    if (code < 0) {
        return code;
    }
    for (size_t i = 0; code == 0 && i < BELAY__AUTHS; i++) {
        const size_t count =
            write_headers(client, access, (enum belay__auth)i, headers);

        code = belay__http_endpoint_open_like(
            like->endpoints[i], headers, count, &access->endpoints[i]);
    }
    if (code == 0) {
        code = belay__http_endpoint_secrets(
            access->endpoints[0], &access->secrets);
    }
    if (code < 0) {
        access_free(client, access);
        return code;
    }
    push(client, access);
    return 0;
}

/* Frees those of former keys that nobody uses any more. */
static void
drop_old(belay_llm_client *client)
{
    struct belay__llm_access **at = &client->accesses->next;
    struct belay__llm_access *access;

    while ((access = *at) != NULL) {
        if (access->users > 0) {
            at = &access->next;
            continue;
        }
        *at = access->next;
        access_free(client, access);
    }
}

static bool
is_key(const struct belay__llm_access *access, const char *key)
{
    const struct belay_slice own = key_of(access);

    return own.data != NULL && strlen(key) == own.len
           && memcmp(own.data, key, own.len) == 0;
}

/* Makes the key the newest one, unless it is. */
static int
use_key(belay_llm_client *client, const char *key)
{
    int code;

    if (is_key(client->accesses, key)) {
        return 0;
    }
    code = add(client, key);
    if (code == 0) {
        drop_old(client);
    }
    return code;
}

int
belay__llm_access_take(
    belay_llm_client *client, struct belay__llm_access **access)
{
    const char *key;
    int code = 0;

    belay__llm_access_give(client, access);
    if (client->closing) {
        return BELAY_ECLOSED;
    }
    if (client->key_source != NULL) {
        key = client->key_source(NULL, client->key_arg);
        code = key != NULL ? use_key(client, key) : BELAY_EAUTH;
    }
    if (code < 0) {
        return code;
    }
    *access = client->accesses;
    (*access)->users++;
    return 0;
}

void
belay__llm_access_give(
    belay_llm_client *client, struct belay__llm_access **access)
{
    struct belay__llm_access *given = *access;

    if (given == NULL) {
        return;
    }
    *access = NULL;
    if (--given->users == 0 && given != client->accesses) {
        drop_old(client);
    }
}

bool
belay__llm_access_renew(
    belay_llm_client *client, const struct belay__llm_access *access)
{
    const char *key;

    if (client->key_source == NULL || client->closing || access == NULL) {
        return false;
    }
    key = client->key_source(key_of(access).data, client->key_arg);
    return key != NULL && !is_key(access, key) && use_key(client, key) == 0;
}

/* ---- the end ---- */

void
belay__llm_access_close(belay_llm_client *client)
{
    struct belay__llm_access *access = client->accesses;

    for (; access != NULL; access = access->next) {
        close_endpoints(access);
    }
}

void
belay__llm_access_free(belay_llm_client *client)
{
    struct belay__llm_access *access;

    while ((access = client->accesses) != NULL) {
        assert(access->users == 0);
        client->accesses = access->next;
        access_free(client, access);
    }
}
