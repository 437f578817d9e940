/* base64.c - bytes as text, RFC 4648 section 4. */
#include "llm/base64.h"

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int
belay__base64_append(struct belay__buffer *buffer, struct belay_slice bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.data;
    size_t left = bytes.len;
    char *to;
    int code;

    if (left > SIZE_MAX / 2) {
        return BELAY_ETOOLARGE;
    }
    code = belay__buffer_reserve(buffer, (left + 2) / 3 * 4);
    if (code < 0 || left == 0) {
        return code;
    }
    to = buffer->data + buffer->len;
    for (; left >= 3; left -= 3, at += 3) {
        *to++ = digits[at[0] >> 2];
        *to++ = digits[(at[0] & 3) << 4 | at[1] >> 4];
        *to++ = digits[(at[1] & 15) << 2 | at[2] >> 6];
        *to++ = digits[at[2] & 63];
    }
    if (left == 1) {
        *to++ = digits[at[0] >> 2];
        *to++ = digits[(at[0] & 3) << 4];
        *to++ = '=';
        *to++ = '=';
    } else if (left == 2) {
        *to++ = digits[at[0] >> 2];
        *to++ = digits[(at[0] & 3) << 4 | at[1] >> 4];
        *to++ = digits[(at[1] & 15) << 2];
        *to++ = '=';
    }
    buffer->len = (size_t)(to - buffer->data);
    return 0;
}

/* The value of a digit, or -1. */
static int
digit_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : -1;
}

bool
belay__base64_decode(
    struct belay_slice text, unsigned char *out, size_t *ret_len)
{
    unsigned char *to = out;
    uint32_t bits = 0;
    int count = 0;

    for (int i = 0; i < 2 && text.len > 0 && text.data[text.len - 1] == '=';
         i++) {
        text.len--;
    }
    if (text.len % 4 == 1) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        const int value = digit_value(text.data[i]);

        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            *to++ = (unsigned char)(bits >> count);
        }
    }
    *ret_len = (size_t)(to - out);
    return true;
}
