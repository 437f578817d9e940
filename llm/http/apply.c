/* apply.c - options of easy handles: an endpoint's policy, a request's needs.
 *
 * The policy is set once, when a handle is made. Of a request only what
 * differs from the one before is set again.
 */
#include "llm/http/transfer.h"

#include <string.h>

#define EXPECT_BYTES \
    ((size_t)1024 * 1024) /* from here libcurl asks before it sends */

static const char method_get[] = "GET";
static const char method_post[] = "POST";
static const char method_other[] = "";

/* ---- policy ---- */

static CURLcode
apply_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return curl_easy_setopt(
        easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static CURLcode
apply_resolver(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Ending an exchange must not wait for getaddrinfo() in its thread. */
    return curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#else
    (void)easy;
    return CURLE_OK;
#endif
}

static CURLcode
apply_tls(const struct belay__http_endpoint *endpoint, CURL *easy)
{
    CURLcode code;

    code = curl_easy_setopt(
        easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(
            easy, CURLOPT_SSL_VERIFYPEER, endpoint->insecure ? 0L : 1L);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(
            easy, CURLOPT_SSL_VERIFYHOST, endpoint->insecure ? 0L : 2L);
    }
    if (code == CURLE_OK && endpoint->ca_file != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_CAINFO, endpoint->ca_file);
    }
    if (code == CURLE_OK && endpoint->share != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_SHARE, endpoint->share);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
            endpoint->no_http2 ? (long)CURL_HTTP_VERSION_1_1
                               : (long)CURL_HTTP_VERSION_2TLS);
    }
    /* Rather wait a moment for a connection that can be shared. */
    if (code == CURLE_OK && !endpoint->no_http2) {
        code = curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    }
    return code;
}

static CURLcode
apply_proxy(const struct belay__http_endpoint *endpoint, CURL *easy)
{
    CURLcode code = CURLE_OK;

    if (endpoint->proxy == NULL && !endpoint->proxy_from_env) {
        code = curl_easy_setopt(easy, CURLOPT_PROXY, "");
        /* Or it looks for no_proxy in the environment at each request. */
        return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_NOPROXY, "")
                                : code;
    }
    if (endpoint->proxy != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_PROXY, endpoint->proxy);
    }
    if (code == CURLE_OK && endpoint->no_proxy != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_NOPROXY, endpoint->no_proxy);
    }
    /* For plain http too: the proxy sees CONNECT, never a key (S6). */
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(
            easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    }
    return code;
}

CURLcode
belay__http_endpoint_apply(
    const struct belay__http_endpoint *endpoint, CURL *easy)
{
    CURLcode code;

    code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (code == CURLE_OK) {
        code = apply_protocols(easy);
    }
    if (code == CURLE_OK) {
        code = apply_resolver(easy);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    }
    if (code == CURLE_OK && endpoint->gzip) {
        code = curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    }
    if (code == CURLE_OK) {
        code = endpoint->tls ? apply_tls(endpoint, easy)
                             : curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                                 (long)CURL_HTTP_VERSION_1_1);
    }
    return code == CURLE_OK ? apply_proxy(endpoint, easy) : code;
}

/* ---- a request ---- */

static CURLcode
apply_method(struct belay__http_transfer *transfer)
{
    const struct belay__http_request *request = transfer->request;
    const bool body = request->body.len > 0;
    const char *method = request->method;
    CURL *easy = transfer->easy;
    CURLcode code;

    if (method == NULL) {
        method = body ? method_post : method_get;
    } else if (strcmp(method, method_post) == 0) {
        method = method_post;
    } else if (strcmp(method, method_get) == 0 && !body) {
        method = method_get;
    }
    if (method == transfer->method) {
        return CURLE_OK;
    }
    if (method == method_post || body) {
        code = curl_easy_setopt(easy, CURLOPT_POST, 1L);
    } else if (strcmp(method, "HEAD") == 0) {
        code = curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else {
        code = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    if (code == CURLE_OK && method != method_post && method != method_get) {
        code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
        method = method_other;
    } else if (code == CURLE_OK && transfer->method == method_other) {
        code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, NULL);
    }
    transfer->method = code == CURLE_OK ? method : method_other;
    return code;
}

static CURLcode
apply_body(struct belay__http_transfer *transfer)
{
    const struct belay_slice body = transfer->request->body;
    CURLcode code;

    if (transfer->method != method_post && body.len == 0) {
        return CURLE_OK; /* setting the fields would make it a POST */
    }
    code = curl_easy_setopt(
        transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS,
            body.data != NULL ? body.data : "");
    }
    return code;
}

/* The shared list to send, by what the body needs. */
static struct curl_slist *
shared_headers(struct belay__http_transfer *transfer)
{
    struct belay__http_endpoint *endpoint = transfer->shard->endpoint;
    const size_t body_len = transfer->request->body.len;
    const bool body = body_len > 0 || transfer->method == method_post;

    if (body_len > EXPECT_BYTES) {
        return &endpoint->expect;
    }
    return body && !endpoint->own_content_type ? &endpoint->content_type
                                               : endpoint->plain;
}

static CURLcode
apply_headers(struct belay__http_transfer *transfer)
{
    const struct belay__http_request *request = transfer->request;
    struct belay__http *http = transfer->shard->http;
    struct curl_slist *list = shared_headers(transfer);
    size_t size;
    CURLcode code;

    if (request->header_count > 0) {
        size =
            belay__http_headers_size(request->headers, request->header_count);
        transfer->extra = belay__alloc(http->memory, size);
        if (transfer->extra == NULL) {
            return CURLE_OUT_OF_MEMORY;
        }
        transfer->extra_size = size;
        list = belay__http_headers_build(
            transfer->extra, request->headers, request->header_count, list);
    }
    if (list == transfer->headers) {
        return CURLE_OK;
    }
    code = curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, list);
    transfer->headers = code == CURLE_OK ? list : NULL;
    return code;
}

static CURLcode
apply_target(struct belay__http_transfer *transfer)
{
    CURLcode code = CURLE_OK;

    if (transfer->target_id != transfer->target->id) {
        code = curl_easy_setopt(
            transfer->easy, CURLOPT_CURLU, transfer->target->url);
        transfer->target_id = code == CURLE_OK ? transfer->target->id : 0;
    }
    return code;
}

CURLcode
belay__http_transfer_apply(struct belay__http_transfer *transfer)
{
    CURLcode code = apply_target(transfer);

    if (code == CURLE_OK) {
        code = apply_method(transfer);
    }
    if (code == CURLE_OK) {
        code = apply_body(transfer);
    }
    if (code == CURLE_OK) {
        code = apply_headers(transfer);
    }
    return code;
}
