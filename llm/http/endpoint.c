/* endpoint.c - where requests go, under which policy, with which headers.
 *
 * What can be prepared is prepared once: the parsed address, one more for
 * each path, the list of headers. The key is in the headers, so connections
 * are an endpoint's own (S11); so are the TLS sessions.
 */
#include "llm/http/transfer.h"

#include <string.h>
#include <strings.h>

#define TARGETS_KEPT 32

static char expect_text[] = "Expect:"; /* takes libcurl's own out */
static char content_type_text[] = "Content-Type: application/json";

/* ---- targets ---- */

static void
target_free(
    struct belay__http_endpoint *endpoint, struct belay__http_target *target)
{
    struct belay__memory *memory = endpoint->http->memory;

    curl_url_cleanup(target->url);
    belay__free(memory, target->path, target->path_size);
    belay__free(memory, target, sizeof(*target));
    endpoint->target_count--;
}

static int
target_new(struct belay__http_endpoint *endpoint, const char *path,
    struct belay__http_target **ret)
{
    struct belay__memory *memory = endpoint->http->memory;
    struct belay__http_target *target;
    int code;

    target = belay__alloc_zero(memory, sizeof(*target));
    if (target == NULL) {
        return BELAY_ENOMEM;
    }
    target->path_size = strlen(path) + 1;
    target->path = belay__copy_text(memory, path, target->path_size - 1);
    code = target->path != NULL ? belay__http_url_join(
               memory, endpoint->base, path, &target->url)
                                : BELAY_ENOMEM;
    if (code < 0) {
        belay__free(
            memory, target->path, target->path != NULL ? target->path_size : 0);
        belay__free(memory, target, sizeof(*target));
        return code;
    }
    target->id = ++endpoint->last_target_id;
    endpoint->target_count++;
    *ret = target;
    return 0;
}

/* Drops the targets used longest ago that nobody uses now. */
static void
trim_targets(struct belay__http_endpoint *endpoint)
{
    struct belay__http_target **at = &endpoint->targets;
    struct belay__http_target **oldest = NULL;
    struct belay__http_target *target;

    if (endpoint->target_count <= TARGETS_KEPT) {
        return;
    }
    for (; *at != NULL; at = &(*at)->next) {
        if ((*at)->users == 0) {
            oldest = at;
        }
    }
    if (oldest != NULL) {
        target = *oldest;
        *oldest = target->next;
        target_free(endpoint, target);
    }
}

int
belay__http_target_get(struct belay__http_endpoint *endpoint, const char *path,
    struct belay__http_target **ret)
{
    struct belay__http_target **at = &endpoint->targets;
    struct belay__http_target *target;
    int code;

    path = path != NULL ? path : "";
    while (*at != NULL && strcmp((*at)->path, path) != 0) {
        at = &(*at)->next;
    }
    target = *at;
    if (target != NULL) {
        *at = target->next;
    } else {
        code = target_new(endpoint, path, &target);
        if (code < 0) {
            return code;
        }
    }
    target->next = endpoint->targets;
    endpoint->targets = target;
    target->users++;
    trim_targets(endpoint);
    *ret = target;
    return 0;
}

void
belay__http_target_put(
    struct belay__http_endpoint *endpoint, struct belay__http_target *target)
{
    target->users--;
    trim_targets(endpoint);
}

/* ---- making ---- */

static const char *
check_opts(const struct belay__http_endpoint_opts *opts)
{
    if (opts->url == NULL) {
        return "no URL is given";
    }
    return belay__http_headers_check(opts->headers, opts->header_count);
}

static int
copy_text(struct belay__http_endpoint *endpoint, const char *text, char **ret,
    size_t *ret_size)
{
    const size_t len = text != NULL ? strlen(text) : 0;

    if (text == NULL) {
        return 0;
    }
    *ret = belay__copy_text(endpoint->http->memory, text, len);
    if (*ret == NULL) {
        return BELAY_ENOMEM;
    }
    *ret_size = len + 1;
    return 0;
}

static int
build_headers(struct belay__http_endpoint *endpoint,
    const struct belay__http_header *headers, size_t count)
{
    const size_t size = belay__http_headers_size(headers, count);

    for (size_t i = 0; i < count; i++) {
        endpoint->own_content_type |=
            strcasecmp(headers[i].name, "content-type") == 0;
    }
    if (count > 0) {
        endpoint->header_block = belay__alloc(endpoint->http->memory, size);
        if (endpoint->header_block == NULL) {
            return BELAY_ENOMEM;
        }
        endpoint->header_block_size = size;
        endpoint->plain = belay__http_headers_build(
            endpoint->header_block, headers, count, NULL);
    }
    endpoint->content_type.data = content_type_text;
    endpoint->content_type.next = endpoint->plain;
    endpoint->expect.data = expect_text;
    endpoint->expect.next =
        endpoint->own_content_type ? endpoint->plain : &endpoint->content_type;
    return 0;
}

/* A TLS session is kept per easy handle otherwise, and seldom met again. */
static int
share_sessions(struct belay__http_endpoint *endpoint)
{
    CURLSHcode code;

    endpoint->share = curl_share_init();
    if (endpoint->share == NULL) {
        return BELAY_ENOMEM;
    }
    code = curl_share_setopt(
        endpoint->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    return code == CURLSHE_OK ? 0 : BELAY_ENOMEM;
}

/* Does it go through the proxy that was asked for? A proxy sees what goes
 * through it, and the loopback that it connects to is its own.
 */
static int
is_through_proxy(const struct belay__http_endpoint *endpoint,
    const struct belay__http_endpoint_opts *opts, bool *ret)
{
    bool exempt = false;
    int code = 0;

    if (opts->no_proxy != NULL) {
        code =
            belay__http_url_is_listed(endpoint->base, opts->no_proxy, &exempt);
    }
    *ret = opts->proxy != NULL && *opts->proxy != '\0' && !exempt;
    return code;
}

/* *ret_why: why plain http is not allowed; NULL: it is. */
static int
check_plain(const struct belay__http_endpoint *endpoint,
    const struct belay__http_endpoint_opts *opts, bool loopback,
    const char **ret_why)
{
    bool through = false;
    const int code = is_through_proxy(endpoint, opts, &through);

    *ret_why = NULL;
    if (!opts->allow_plain && !loopback) {
        *ret_why = "plain http to another machine is not allowed";
    } else if (!opts->allow_plain && through) {
        *ret_why = "plain http through a proxy is not allowed";
    }
    return code;
}

static int
set_address(struct belay__http_endpoint *endpoint,
    const struct belay__http_endpoint_opts *opts, const char **ret_why)
{
    const char *why = NULL;
    bool loopback = false;
    int code;

    code = belay__http_url_parse(opts->url, &endpoint->base, ret_why);
    if (code == 0) {
        code = belay__http_url_label(endpoint->http->memory, endpoint->base,
            &endpoint->label, &endpoint->label_size);
    }
    if (code == 0) {
        code = belay__http_url_kind(endpoint->base, &endpoint->tls, &loopback);
    }
    if (code == 0 && !endpoint->tls) {
        code = check_plain(endpoint, opts, loopback, &why);
    }
    if (code == 0 && why != NULL) {
        *ret_why = why;
        code = BELAY_EINVAL;
    }
    /* The environment's proxy may be another machine, and its loopback is not
     * ours: what was let through in clear as local would travel to it. */
    endpoint->proxy_from_env = opts->proxy_from_env && !loopback;
    return code;
}

static int
endpoint_init(struct belay__http_endpoint *endpoint,
    const struct belay__http_endpoint_opts *opts, const char **ret_why)
{
    int code;

    endpoint->insecure = opts->insecure;
    endpoint->gzip = opts->gzip;
    endpoint->no_http2 = opts->no_http2;
    code = set_address(endpoint, opts, ret_why);
    if (code == 0) {
        code = build_headers(endpoint, opts->headers, opts->header_count);
    }
    if (code == 0) {
        code = copy_text(endpoint, opts->ca_file, &endpoint->ca_file,
            &endpoint->ca_file_size);
    }
    if (code == 0) {
        code = copy_text(
            endpoint, opts->proxy, &endpoint->proxy, &endpoint->proxy_size);
    }
    if (code == 0) {
        code = copy_text(endpoint, opts->no_proxy, &endpoint->no_proxy,
            &endpoint->no_proxy_size);
    }
    if (code == 0 && endpoint->tls) {
        code = share_sessions(endpoint);
    }
    return code;
}

/* What endpoint_init() makes of its options, from an endpoint. */
static int
endpoint_copy(struct belay__http_endpoint *endpoint,
    const struct belay__http_endpoint *like,
    const struct belay__http_header *headers, size_t header_count)
{
    int code;

    endpoint->insecure = like->insecure;
    endpoint->gzip = like->gzip;
    endpoint->no_http2 = like->no_http2;
    endpoint->tls = like->tls;
    endpoint->proxy_from_env = like->proxy_from_env;
    endpoint->base = curl_url_dup(like->base);
    if (endpoint->base == NULL) {
        return BELAY_ENOMEM;
    }
    code = build_headers(endpoint, headers, header_count);
    if (code == 0) {
        code = copy_text(
            endpoint, like->label, &endpoint->label, &endpoint->label_size);
    }
    if (code == 0) {
        code = copy_text(endpoint, like->ca_file, &endpoint->ca_file,
            &endpoint->ca_file_size);
    }
    if (code == 0) {
        code = copy_text(
            endpoint, like->proxy, &endpoint->proxy, &endpoint->proxy_size);
    }
    if (code == 0) {
        code = copy_text(endpoint, like->no_proxy, &endpoint->no_proxy,
            &endpoint->no_proxy_size);
    }
    if (code == 0 && endpoint->tls) {
        code = share_sessions(endpoint);
    }
    return code;
}

static void
free_text(struct belay__memory *memory, char *text, size_t size)
{
    if (text != NULL) {
        belay__http_wipe(text, size);
        belay__free(memory, text, size);
    }
}

/* A zeroed or half-made one is fine. */
static void
endpoint_free(struct belay__http_endpoint *endpoint)
{
    struct belay__memory *memory = endpoint->http->memory;
    struct belay__http_target *target;

    while ((target = endpoint->targets) != NULL) {
        endpoint->targets = target->next;
        target_free(endpoint, target);
    }
    (void)curl_share_cleanup(endpoint->share);
    curl_url_cleanup(endpoint->base);
    free_text(memory, endpoint->label, endpoint->label_size);
    free_text(memory, endpoint->header_block, endpoint->header_block_size);
    free_text(memory, endpoint->ca_file, endpoint->ca_file_size);
    free_text(memory, endpoint->proxy, endpoint->proxy_size);
    free_text(memory, endpoint->no_proxy, endpoint->no_proxy_size);
    belay__free(memory, endpoint, sizeof(*endpoint));
}

static void
link_endpoint(struct belay__http_endpoint *endpoint)
{
    struct belay__http *http = endpoint->http;

    endpoint->next = http->endpoints;
    if (http->endpoints != NULL) {
        http->endpoints->prev = endpoint;
    }
    http->endpoints = endpoint;
}

int
belay__http_endpoint_open(struct belay__http *http,
    const struct belay__http_endpoint_opts *opts,
    struct belay__http_endpoint **ret, const char **reterr_why)
{
    struct belay__http_endpoint *endpoint;
    const char *why = "an option is not valid";
    int code = BELAY_EINVAL;

    if (http->closing) {
        return BELAY_ECLOSED;
    }
    endpoint = belay__alloc_zero(http->memory, sizeof(*endpoint));
    if (endpoint == NULL) {
        return BELAY_ENOMEM;
    }
    endpoint->http = http;
    if (check_opts(opts) != NULL) {
        why = check_opts(opts);
    } else {
        code = endpoint_init(endpoint, opts, &why);
    }
    if (code < 0) {
        endpoint_free(endpoint);
        if (code == BELAY_EINVAL && reterr_why != NULL) {
            *reterr_why = why;
        }
        return code;
    }
    link_endpoint(endpoint);
    *ret = endpoint;
    return 0;
}

int
belay__http_endpoint_open_like(const struct belay__http_endpoint *like,
    const struct belay__http_header *headers, size_t header_count,
    struct belay__http_endpoint **ret)
{
    struct belay__http *http = like->http;
    struct belay__http_endpoint *endpoint;
    int code;

    if (http->closing) {
        return BELAY_ECLOSED;
    }
    if (belay__http_headers_check(headers, header_count) != NULL) {
        return BELAY_EINVAL;
    }
    endpoint = belay__alloc_zero(http->memory, sizeof(*endpoint));
    if (endpoint == NULL) {
        return BELAY_ENOMEM;
    }
    endpoint->http = http;
    code = endpoint_copy(endpoint, like, headers, header_count);
    if (code < 0) {
        endpoint_free(endpoint);
        return code;
    }
    link_endpoint(endpoint);
    *ret = endpoint;
    return 0;
}

void
belay__http_endpoint_close(struct belay__http_endpoint *endpoint)
{
    struct belay__http_shard *shard;

    if (endpoint == NULL) {
        return;
    }
    if (endpoint->prev != NULL) {
        endpoint->prev->next = endpoint->next;
    } else {
        endpoint->http->endpoints = endpoint->next;
    }
    if (endpoint->next != NULL) {
        endpoint->next->prev = endpoint->prev;
    }
    while ((shard = endpoint->shards) != NULL) {
        endpoint->shards = shard->next;
        belay__http_shard_close(shard);
    }
    endpoint_free(endpoint);
}

const char *
belay__http_endpoint_label(const struct belay__http_endpoint *endpoint)
{
    return endpoint->label;
}

int
belay__http_endpoint_secrets(
    const struct belay__http_endpoint *endpoint, struct belay__secrets *secrets)
{
    return belay__http_url_secrets(endpoint->base, secrets);
}
