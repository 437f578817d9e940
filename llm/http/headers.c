/* headers.c - lists of request headers.
 *
 * libcurl only reads the lists that it is given, so they are built in memory
 * of ours, nodes and texts in one block, and lists with the same end share it.
 */
#include "llm/http/transfer.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

bool
belay__http_is_token(const char *text)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";

    if (text == NULL || *text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        const char c = *text;
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!letter && !(c >= '0' && c <= '9') && strchr(marks, c) == NULL) {
            return false;
        }
    }
    return true;
}

/* What libcurl works out itself; a second opinion could split a request. */
static bool
is_reserved(const char *name)
{
    static const char *const reserved[] = {
        "content-length", "transfer-encoding", "connection", "expect", "host"};

    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strcasecmp(name, reserved[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool
has_forbidden_byte(struct belay_slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] == '\r' || value.data[i] == '\n'
            || value.data[i] == '\0') {
            return true;
        }
    }
    return false;
}

const char *
belay__http_headers_check(
    const struct belay__http_header *headers, size_t count)
{
    const size_t longest = (size_t)64 * 1024;

    for (size_t i = 0; i < count; i++) {
        if (!belay__http_is_token(headers[i].name)) {
            return "a header's name is not a token";
        }
        if (is_reserved(headers[i].name)) {
            return "a header is reserved for the client itself";
        }
        if (headers[i].value.len > longest) {
            return "a header's value is longer than 64 KiB";
        }
        if (has_forbidden_byte(headers[i].value)) {
            return "a header's value holds a line break or a NUL";
        }
    }
    return NULL;
}

/* "name: value" or, with nothing to say, "name;"; and a NUL. */
static size_t
text_size(const struct belay__http_header *header)
{
    return strlen(header->name) + 2 + header->value.len + 1;
}

size_t
belay__http_headers_size(const struct belay__http_header *headers, size_t count)
{
    size_t size = count * sizeof(struct curl_slist);

    for (size_t i = 0; i < count; i++) {
        size += text_size(&headers[i]);
    }
    return size;
}

static bool
is_blank(struct belay_slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] != ' ' && value.data[i] != '\t') {
            return false;
        }
    }
    return true;
}

static char *
put_text(char *text, const struct belay__http_header *header)
{
    const size_t name_len = strlen(header->name);

    memcpy(text, header->name, name_len);
    text += name_len;
    if (is_blank(header->value)) {
        *text++ = ';';
    } else {
        *text++ = ':';
        *text++ = ' ';
        memcpy(text, header->value.data, header->value.len);
        text += header->value.len;
    }
    *text++ = '\0';
    return text;
}

struct curl_slist *
belay__http_headers_build(void *block, const struct belay__http_header *headers,
    size_t count, struct curl_slist *tail)
{
    struct curl_slist *nodes = block;
    char *text = (char *)(nodes + count);

    for (size_t i = 0; i < count; i++) {
        nodes[i].data = text;
        nodes[i].next = i + 1 < count ? &nodes[i + 1] : tail;
        text = put_text(text, &headers[i]);
    }
    assert((size_t)(text - (char *)block)
           <= belay__http_headers_size(headers, count));
    return count > 0 ? nodes : tail;
}

void
belay__http_wipe(void *ptr, size_t size)
{
    volatile char *bytes = ptr;

    for (size_t i = 0; i < size; i++) {
        bytes[i] = 0;
    }
}
