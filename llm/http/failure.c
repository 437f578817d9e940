/* failure.c - what libcurl's codes mean to a caller, in a code and in words.
 *
 * The kind of a failure decides on a retry, and on whether the call may have
 * been billed (L30); the words are made of our own texts and the endpoint's
 * public address only: libcurl's messages may quote what a server sent.
 */
#include "llm/http/transfer.h"

#include <stdio.h>
#include <string.h>

#define PATH_SHOWN 200

/* CURLE_RECV_ERROR and the like: did the proxy turn us away? */
static bool
is_proxy_answer(CURL *easy)
{
    long status = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
    return status != 0 && status / 100 != 2;
}

/* A line of a head that is longer than libcurl takes is "out of memory". */
static enum belay__http_failure
memory_or_head(const struct belay__http_transfer *transfer)
{
    curl_off_t us = 0;

    (void)curl_easy_getinfo(transfer->easy, CURLINFO_STARTTRANSFER_TIME_T, &us);
    return us > 0 && !transfer->head_done ? BELAY__HTTP_HEAD_TOO_LARGE
                                          : BELAY__HTTP_NO_MEMORY;
}

/* A chunk that cannot be is an error of receiving too, but not one that the
 * system has reported. With TLS the system may not have been asked.
 */
static enum belay__http_failure
reset_or_malformed(const struct belay__http_transfer *transfer)
{
    long os_error = 0;

    if (is_proxy_answer(transfer->easy)) {
        return BELAY__HTTP_PROXY;
    }
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_error);
    return os_error == 0 && !transfer->shard->endpoint->tls
               ? BELAY__HTTP_MALFORMED
               : BELAY__HTTP_RESET;
}

enum belay__http_failure
belay__http_failure_of(
    const struct belay__http_transfer *transfer, CURLcode code)
{
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return BELAY__HTTP_RESOLVE;
    case CURLE_COULDNT_CONNECT:
        return BELAY__HTTP_CONNECT;
    case CURLE_COULDNT_RESOLVE_PROXY:
#if LIBCURL_VERSION_NUM >= 0x074900
    case CURLE_PROXY:
#endif
        return BELAY__HTTP_PROXY;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_USE_SSL_FAILED:
        return BELAY__HTTP_TLS;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
        return BELAY__HTTP_CERTIFICATE;
    case CURLE_SEND_ERROR:
        return is_proxy_answer(transfer->easy) ? BELAY__HTTP_PROXY
                                               : BELAY__HTTP_SEND;
    case CURLE_RECV_ERROR:
        return reset_or_malformed(transfer);
    case CURLE_GOT_NOTHING:
        return BELAY__HTTP_EMPTY;
    case CURLE_PARTIAL_FILE:
        return BELAY__HTTP_SHORT_BODY;
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return BELAY__HTTP_STREAM;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WRITE_ERROR: /* not ours; a broken coding or chunk */
        return BELAY__HTTP_MALFORMED;
    case CURLE_OPERATION_TIMEDOUT:
        return BELAY__HTTP_TIMEOUT_CONNECT;
    case CURLE_OUT_OF_MEMORY:
        return memory_or_head(transfer);
    default:
        return BELAY__HTTP_LOCAL;
    }
}

struct kind {
    int code;
    const char *words;
};

static const struct kind kinds[] = {
    [BELAY__HTTP_OK] = {0, "no failure"},
    [BELAY__HTTP_RESOLVE] = {BELAY_ECONNECT, "the host has no address"},
    [BELAY__HTTP_CONNECT] = {BELAY_ECONNECT, "no connection"},
    [BELAY__HTTP_PROXY] = {BELAY_ECONNECT, "the proxy gives no connection"},
    [BELAY__HTTP_TLS] = {BELAY_ETLS, "the TLS handshake failed"},
    [BELAY__HTTP_CERTIFICATE] = {BELAY_ETLS,
        "the server's certificate is not accepted"},
    [BELAY__HTTP_SEND] = {BELAY_ERESET, "the connection broke while sending"},
    [BELAY__HTTP_RESET] = {BELAY_ERESET,
        "the connection broke while receiving"},
    [BELAY__HTTP_EMPTY] = {BELAY_ERESET,
        "the server closed the connection without an answer"},
    [BELAY__HTTP_SHORT_BODY] = {BELAY_ETRUNCATED,
        "the server closed the connection in the middle of the answer"},
    [BELAY__HTTP_STREAM] = {BELAY_ERESET, "the HTTP/2 stream broke"},
    [BELAY__HTTP_MALFORMED] = {BELAY_EREPLY, "the answer is not valid HTTP"},
    [BELAY__HTTP_TIMEOUT_CONNECT] = {BELAY_ETIMEDOUT,
        "timed out before there was a connection"},
    [BELAY__HTTP_TIMEOUT_FIRST_BYTE] = {BELAY_ETIMEDOUT,
        "timed out before the first byte of an answer"},
    [BELAY__HTTP_TIMEOUT_IDLE] = {BELAY_ETIMEDOUT,
        "timed out in the middle of the answer"},
    [BELAY__HTTP_BODY_TOO_LARGE] = {BELAY_ETOOLARGE,
        "the answer is larger than the limit"},
    [BELAY__HTTP_HEAD_TOO_LARGE] = {BELAY_ETOOLARGE,
        "the head of the answer is larger than the limit"},
    [BELAY__HTTP_NO_MEMORY] = {BELAY_ENOMEM, "out of memory"},
    [BELAY__HTTP_SINK] = {BELAY_EIO, "the answer was refused"},
    [BELAY__HTTP_BAD_REQUEST] = {BELAY_EINVAL, "the request is not valid"},
    [BELAY__HTTP_CLOSED] = {BELAY_ECLOSED, "the client was closed"},
    [BELAY__HTTP_CANCELLED] = {BELAY_ECANCELED, "cancelled"},
    [BELAY__HTTP_LOCAL] = {BELAY_EIO, "failed on this side"},
};

int
belay__http_failure_code(enum belay__http_failure failure)
{
    return kinds[failure].code;
}

/* What the kind does not say already. */
static const char *
detail_of(const struct belay__http_outcome *outcome,
    const struct belay__http_request *request,
    const struct belay__http_reply *reply)
{
    const char *why = NULL;

    switch ((int)reply->failure) {
    case BELAY__HTTP_CONNECT:
        return outcome->os_error != 0 ? strerror(outcome->os_error) : NULL;
    case BELAY__HTTP_BAD_REQUEST:
        why = belay__http_request_check(request);
        return why != NULL ? why : "the path cannot be put behind the URL";
    case BELAY__HTTP_LOCAL:
        return outcome->curl_code != CURLE_OK
                   ? curl_easy_strerror(outcome->curl_code)
                   : belay_code_text(outcome->code);
    case BELAY__HTTP_SINK:
        return belay_code_text(outcome->code);
    default:
        return NULL;
    }
}

/* Behind it a message says why; no URL and no path has spaces. */
#define FAILED " failed: "

const char *
belay__http_error_reason(const belay_error *error)
{
    const char *at = strstr(belay_error_message(error), FAILED);

    return at != NULL ? at + strlen(FAILED) : NULL;
}

/* The path, without its query; nothing of one that has to be refused. */
static int
shown_len(const struct belay__http_request *request,
    const struct belay__http_reply *reply)
{
    size_t len;

    if (request->path == NULL || reply->failure == BELAY__HTTP_BAD_REQUEST) {
        return 0;
    }
    len = strcspn(request->path, "?");
    return len > PATH_SHOWN ? PATH_SHOWN : (int)len;
}

belay_error *
belay__http_error(struct belay__memory *memory, const char *task_name,
    const struct belay__http_outcome *outcome,
    const struct belay__http_endpoint *endpoint,
    const struct belay__http_request *request,
    const struct belay__http_reply *reply)
{
    const struct belay__error_site site = {task_name, __FILE__, __LINE__};
    const char *detail = detail_of(outcome, request, reply);
    belay_error *error;

    error = belay__error_new(memory, outcome->code, &site,
        "request%s%.*s to '%s'" FAILED "%s%s%s",
        shown_len(request, reply) > 0 ? " " : "", shown_len(request, reply),
        request->path != NULL ? request->path : "", endpoint->label,
        kinds[reply->failure].words, detail != NULL ? ": " : "",
        detail != NULL ? detail : "");
    if (error != NULL && outcome->curl_code != CURLE_OK) {
        belay__error_set_foreign(error, "curl", (int)outcome->curl_code);
    }
    return error;
}
