/* url.c - base addresses, and addresses below them.
 *
 * libcurl's URL handles do the parsing, so that what is checked here is what
 * is connected to. Nothing here is on the way of a request: addresses are
 * prepared once.
 */
#include "llm/http/transfer.h"

#include <string.h>
#include <strings.h>

static int
code_of(CURLUcode code)
{
    return code == CURLUE_OUT_OF_MEMORY ? BELAY_ENOMEM : BELAY_EINVAL;
}

/* The part without percent signs decoded; "" if it is not there. The caller
 * frees it with curl_free().
 */
static int
get_part(CURLU *url, CURLUPart part, char **ret)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(url, part, &text, 0);

    if (code != CURLUE_OK && code != CURLUE_NO_QUERY
        && code != CURLUE_NO_PORT) {
        return code_of(code);
    }
    *ret = text;
    return 0;
}

static const char *
or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static int
check_scheme(CURLU *url, const char **ret_why)
{
    char *scheme = NULL;
    int code = get_part(url, CURLUPART_SCHEME, &scheme);

    if (code == 0 && strcmp(or_empty(scheme), "http") != 0
        && strcmp(or_empty(scheme), "https") != 0) {
        *ret_why = "the URL is neither http nor https";
        code = BELAY_EINVAL;
    }
    curl_free(scheme);
    return code;
}

int
belay__http_url_parse(const char *text, CURLU **ret, const char **ret_why)
{
    CURLU *url;
    CURLUcode result;
    int code;

    url = curl_url();
    if (url == NULL) {
        return BELAY_ENOMEM;
    }
    result = curl_url_set(url, CURLUPART_URL, text, 0);
    if (result == CURLUE_UNSUPPORTED_SCHEME) {
        *ret_why = "the URL is neither http nor https";
        code = BELAY_EINVAL;
    } else if (result != CURLUE_OK) {
        *ret_why = "the URL cannot be parsed";
        code = code_of(result);
    } else {
        code = check_scheme(url, ret_why);
    }
    if (code < 0) {
        curl_url_cleanup(url);
        return code;
    }
    (void)curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
    *ret = url;
    return 0;
}

/* "/gateway/" and "/chat" give "/gateway/chat"; a version that ends the one
 * and begins the other is not doubled.
 */
static int
join_paths(struct belay__buffer *buffer, const char *base, const char *path,
    size_t path_len)
{
    static const char version[] = "/v1";
    const size_t version_len = sizeof(version) - 1;
    size_t base_len = strlen(base);
    int code;

    while (base_len > 0 && base[base_len - 1] == '/') {
        base_len--;
    }
    while (path_len > 0 && *path == '/') {
        path++;
        path_len--;
    }
    if (base_len >= version_len
        && memcmp(base + base_len - version_len, version, version_len) == 0
        && path_len >= version_len && memcmp(path, "v1/", version_len) == 0) {
        base_len -= version_len;
    }
    code = belay__buffer_append(buffer, base, base_len);
    if (code == 0) {
        code = belay__buffer_append(buffer, "/", 1);
    }
    if (code == 0) {
        code = belay__buffer_append(buffer, path, path_len);
    }
    return code == 0 ? belay__buffer_append(buffer, "", 1) : code;
}

static int
join_queries(struct belay__buffer *buffer, const char *base, const char *query)
{
    int code = belay__buffer_append(buffer, base, strlen(base));

    if (code == 0 && *base != '\0' && *query != '\0') {
        code = belay__buffer_append(buffer, "&", 1);
    }
    if (code == 0) {
        code = belay__buffer_append(buffer, query, strlen(query));
    }
    return code == 0 ? belay__buffer_append(buffer, "", 1) : code;
}

static int
set_joined(CURLU *url, CURLUPart part, struct belay__buffer *text)
{
    CURLUcode code = curl_url_set(url, part, text->data, 0);

    return code == CURLUE_OK ? 0 : code_of(code);
}

static int
join_into(struct belay__buffer *buffer, CURLU *url, const char *path)
{
    const size_t path_len = strcspn(path, "?");
    const char *query = path[path_len] == '?' ? path + path_len + 1 : "";
    char *base_path = NULL;
    char *base_query = NULL;
    int code;

    code = get_part(url, CURLUPART_PATH, &base_path);
    if (code == 0) {
        code = get_part(url, CURLUPART_QUERY, &base_query);
    }
    if (code == 0 && path_len > 0) {
        code = join_paths(buffer, or_empty(base_path), path, path_len);
        if (code == 0) {
            code = set_joined(url, CURLUPART_PATH, buffer);
        }
    }
    if (code == 0 && *query != '\0') {
        belay__buffer_clear(buffer);
        code = join_queries(buffer, or_empty(base_query), query);
        if (code == 0) {
            code = set_joined(url, CURLUPART_QUERY, buffer);
        }
    }
    curl_free(base_path);
    curl_free(base_query);
    return code;
}

int
belay__http_url_join(
    struct belay__memory *memory, CURLU *base, const char *path, CURLU **ret)
{
    const size_t longest = (size_t)1024 * 1024;
    struct belay__buffer buffer;
    CURLU *url;
    int code = 0;

    url = curl_url_dup(base);
    if (url == NULL) {
        return BELAY_ENOMEM;
    }
    if (path != NULL && *path != '\0') {
        belay__buffer_init(&buffer, memory, longest);
        code = join_into(&buffer, url, path);
        belay__buffer_fini(&buffer);
    }
    if (code < 0) {
        curl_url_cleanup(url);
        return code == BELAY_ETOOLARGE ? BELAY_EINVAL : code;
    }
    *ret = url;
    return 0;
}

int
belay__http_url_label(
    struct belay__memory *memory, CURLU *url, char **ret, size_t *ret_size)
{
    static const CURLUPart secret[] = {
        CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_QUERY};
    CURLU *bare;
    char *text = NULL;
    char *label = NULL;

    bare = curl_url_dup(url);
    if (bare == NULL) {
        return BELAY_ENOMEM;
    }
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++) {
        (void)curl_url_set(bare, secret[i], NULL, 0);
    }
    if (curl_url_get(bare, CURLUPART_URL, &text, 0) == CURLUE_OK) {
        label = belay__copy_text(memory, text, strlen(text));
    }
    curl_url_cleanup(bare);
    if (label != NULL) {
        *ret = label;
        *ret_size = strlen(text) + 1;
    }
    curl_free(text);
    return label != NULL ? 0 : BELAY_ENOMEM;
}

/* 127.0.0.0/8 in its usual form. What curl_url_set() leaves of other forms
 * is taken for a name, hence not for this machine.
 */
static bool
is_loopback(const char *host)
{
    size_t dots = 0;

    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) {
        return true;
    }
    if (strncmp(host, "127.", 4) != 0
        || strspn(host, "0123456789.") != strlen(host)) {
        return false;
    }
    for (const char *p = host; *p != '\0'; p++) {
        dots += *p == '.';
    }
    return dots == 3;
}

int
belay__http_url_kind(CURLU *url, bool *ret_tls, bool *ret_loopback)
{
    char *scheme = NULL;
    char *host = NULL;
    int code;

    code = get_part(url, CURLUPART_SCHEME, &scheme);
    if (code == 0) {
        code = get_part(url, CURLUPART_HOST, &host);
    }
    if (code == 0) {
        *ret_tls = strcmp(or_empty(scheme), "https") == 0;
        *ret_loopback = is_loopback(or_empty(host));
    }
    curl_free(scheme);
    curl_free(host);
    return code;
}

/* Only what libcurl is sure to take for this host, too: "*" alone, or the whole
 * name, which of an IPv6 address is without brackets.
 */
static bool
is_listed(const char *host, size_t len, const char *list)
{
    if (strcmp(list, "*") == 0) {
        return true;
    }
    while (*list != '\0') {
        const size_t word = strcspn(list, ", ");

        if (word == len && strncasecmp(list, host, len) == 0) {
            return true;
        }
        list += word;
        list += strspn(list, ", ");
    }
    return false;
}

int
belay__http_url_is_listed(CURLU *url, const char *list, bool *ret)
{
    char *host = NULL;
    const int code = get_part(url, CURLUPART_HOST, &host);
    const char *name = or_empty(host);
    const bool brackets = *name == '[';
    const size_t len = strlen(name);

    *ret = code == 0
           && (brackets ? is_listed(name + 1, len - 2, list)
                        : is_listed(name, len, list));
    curl_free(host);
    return code;
}
