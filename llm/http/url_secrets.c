/* url_secrets.c - what an address holds that no text may show (S2).
 *
 * Servers quote the address that was asked for, as it was sent or decoded, with
 * what hangs on at its end or without; and the header that libcurl makes of its
 * user.
 */
#include "llm/base64.h"
#include "llm/http/transfer.h"
#include "llm/secret.h"
#include "runtime/memory.h"

#include <string.h>
#include <strings.h>

/* NULL if it is not there. */
static int
get_part(CURLU *url, CURLUPart part, unsigned int flags, char **ret)
{
    *ret = NULL;
    return curl_url_get(url, part, ret, flags) == CURLUE_OUT_OF_MEMORY
               ? BELAY_ENOMEM
               : 0;
}

static void
free_text(char *text)
{
    if (text != NULL) {
        belay__http_wipe(text, strlen(text));
        curl_free(text);
    }
}

/* Also without the blanks and controls at its end, which servers trim. */
static int
add_trimmed(struct belay__secrets *secrets, const char *text, size_t len)
{
    const size_t whole = len;
    const int code =
        belay__secrets_add(secrets, (struct belay_slice){text, len});

    while (len > 0
           && ((unsigned char)text[len - 1] <= ' ' || text[len - 1] == 0x7f)) {
        len--;
    }
    return code < 0 || len == whole
               ? code
               : belay__secrets_add(secrets, (struct belay_slice){text, len});
}

static int
add_decoded(struct belay__secrets *secrets, const char *text, size_t len)
{
    int decoded_len = 0;
    char *decoded = curl_easy_unescape(NULL, text, (int)len, &decoded_len);
    int code;

    if (decoded == NULL) {
        return BELAY_ENOMEM;
    }
    code = add_trimmed(secrets, decoded, (size_t)decoded_len);
    belay__http_wipe(decoded, (size_t)decoded_len);
    curl_free(decoded);
    return code;
}

/* As it stands there, and decoded. */
static int
add_text(struct belay__secrets *secrets, const char *text, size_t len)
{
    const int code =
        belay__secrets_add(secrets, (struct belay_slice){text, len});

    if (code < 0 || len == 0 || memchr(text, '%', len) == NULL) {
        return code;
    }
    return add_decoded(secrets, text, len);
}

/* Forms write blanks as '+', so many a server reads one as such. */
static int
add_form(struct belay__secrets *secrets, const char *text, size_t len)
{
    char *copy;
    int code;

    if (len == 0 || memchr(text, '+', len) == NULL) {
        return 0;
    }
    copy = belay__copy_text(secrets->memory, text, len);
    if (copy == NULL) {
        return BELAY_ENOMEM;
    }
    for (size_t i = 0; i < len; i++) {
        if (copy[i] == '+') {
            copy[i] = ' ';
        }
    }
    code = add_decoded(secrets, copy, len);
    belay__http_wipe(copy, len);
    belay__free(secrets->memory, copy, len + 1);
    return code;
}

/* Does the name of a value say that it is a secret? One without a name is. */
static bool
is_secret(const char *name, size_t len)
{
    static const char *const parts[] = {
        "key", "token", "secret", "pass", "pwd", "sig", "auth", "cred"};
    const size_t count = sizeof(parts) / sizeof(parts[0]);

    for (size_t i = 0; i < count; i++) {
        const size_t part = strlen(parts[i]);

        for (size_t at = 0; at + part <= len; at++) {
            if (strncasecmp(name + at, parts[i], part) == 0) {
                return true;
            }
        }
    }
    return len == 0 || (len == 4 && strncasecmp(name, "code", len) == 0);
}

/* The others are versions, regions, models: what errors are about. */
static int
add_query(struct belay__secrets *secrets, const char *query)
{
    int code = 0;

    while (code == 0 && *query != '\0') {
        const size_t len = strcspn(query, "&");
        const char *equals = memchr(query, '=', len);
        const size_t name = equals != NULL ? (size_t)(equals - query) : 0;
        const char *value = equals != NULL ? equals + 1 : query;

        if (is_secret(query, name)) {
            const size_t value_len = len - (size_t)(value - query);

            code = add_text(secrets, value, value_len);
            if (code == 0) {
                code = add_form(secrets, value, value_len);
            }
        }
        query += len + (query[len] == '&');
    }
    return code;
}

static int
add_part(struct belay__secrets *secrets, CURLU *url, CURLUPart part)
{
    char *text;
    int code = get_part(url, part, 0, &text);

    if (code == 0 && text != NULL) {
        code = part == CURLUPART_QUERY ? add_query(secrets, text)
                                       : add_text(secrets, text, strlen(text));
    }
    free_text(text);
    return code;
}

static void
drop(struct belay__buffer *buffer)
{
    if (buffer->room > 0) {
        belay__http_wipe(buffer->data, buffer->room);
    }
    belay__buffer_fini(buffer);
}

static int
add_basic(
    struct belay__secrets *secrets, const char *user, const char *password)
{
    const size_t size = strlen(user) + strlen(password) + 2;
    struct belay__buffer pair;
    struct belay__buffer basic;
    int code;

    belay__buffer_init(&pair, secrets->memory, size);
    belay__buffer_init(&basic, secrets->memory, 2 * size + 4);
    code = belay__buffer_format(&pair, "%s:%s", user, password);
    if (code == 0) {
        code = belay__base64_append(&basic, belay__buffer_slice(&pair));
    }
    if (code == 0) {
        code = belay__secrets_add(secrets, belay__buffer_slice(&basic));
    }
    drop(&pair);
    drop(&basic);
    return code;
}

/* What libcurl sends of both where there is no key. */
static int
add_header(struct belay__secrets *secrets, CURLU *url)
{
    char *password = NULL;
    char *user;
    int code = get_part(url, CURLUPART_USER, CURLU_URLDECODE, &user);

    if (code == 0) {
        code = get_part(url, CURLUPART_PASSWORD, CURLU_URLDECODE, &password);
    }
    if (code == 0 && (user != NULL || password != NULL)) {
        code = add_basic(secrets, user != NULL ? user : "",
            password != NULL ? password : "");
    }
    free_text(user);
    free_text(password);
    return code;
}

/* A user alone is a key; with a password it is a name. */
static int
add_user(struct belay__secrets *secrets, CURLU *url)
{
    char *password;
    const int code = get_part(url, CURLUPART_PASSWORD, 0, &password);
    const bool is_name = password != NULL && *password != '\0';

    free_text(password);
    return code < 0 || is_name ? code : add_part(secrets, url, CURLUPART_USER);
}

int
belay__http_url_secrets(CURLU *url, struct belay__secrets *secrets)
{
    int code = add_user(secrets, url);

    if (code == 0) {
        code = add_part(secrets, url, CURLUPART_PASSWORD);
    }
    if (code == 0) {
        code = add_part(secrets, url, CURLUPART_QUERY);
    }
    return code == 0 ? add_header(secrets, url) : code;
}
