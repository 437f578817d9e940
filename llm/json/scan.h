/* scan.h - reading JSON once, without a tree (private).
 *
 * A cursor walks over text that stays where it is. The caller enters the
 * containers it cares about, takes the values it wants as slices of the text,
 * and need not mention the rest: what is not taken is skipped, and what is
 * skipped is checked as strictly as what is taken (RFC 8259, UTF-8, at most
 * 128 levels). Nothing is allocated. Rules: L91-L96.
 *
 *     belay__json_open(&json, text);
 *     if (belay__json_enter_object(&json)) {
 *         while (belay__json_next_member(&json, &key)) {
 *             if (belay__json_key_is(&key, "usage")) {
 *                 (void)belay__json_take(&json, &usage);
 *             }
 *         }
 *     }
 *     code = belay__json_finish(&json);
 *
 * Errors stick: after the first one every call gives false at once, so that
 * loops end by themselves and only finish needs to be looked at. What was
 * taken before the error is good, but is no proof of the rest. Of a key that
 * occurs twice both members are shown; a caller that overwrites what it had
 * keeps the last, as most readers do. text.h compares and decodes strings.
 */
#ifndef BELAY_LLM_JSON_SCAN_H
#define BELAY_LLM_JSON_SCAN_H

#include <belay/base.h>

#define BELAY__JSON_DEPTH_MAX 128 /* containers open at once (L95) */

enum belay__json_type {
    BELAY__JSON_NONE, /* no value: zeroed, or not found */
    BELAY__JSON_NULL,
    BELAY__JSON_FALSE,
    BELAY__JSON_TRUE,
    BELAY__JSON_NUMBER,
    BELAY__JSON_STRING,
    BELAY__JSON_ARRAY,
    BELAY__JSON_OBJECT,
};

/* A value as it stands in the text; lives as long as the text. */
struct belay__json_value {
    struct belay_slice raw; /* byte for byte, a string with its quotes */
    enum belay__json_type type;
    bool escaped;        /* there is a backslash in it */
    bool lone_surrogate; /* there is half a \uXXXX\uXXXX in it (L91) */
};

struct belay__json_error {
    size_t offset;      /* of the first byte that is wrong, or the length */
    const char *reason; /* static, as in "expected ':'"; NULL: no error */
};

/* A cursor. Everything but error and lone_surrogates is its own business. */
struct belay__json {
    struct belay__json_error error;
    size_t lone_surrogates; /* met so far */
    size_t escapes;         /* met so far */
    bool ahead;             /* at stands on a value that nobody has consumed */
    bool fresh;             /* the innermost container has shown nothing yet */
    const char *begin;
    const char *at;
    const char *end;
    size_t depth; /* open containers */
    char closers[BELAY__JSON_DEPTH_MAX];
};

/* Puts the cursor before the only value of text, which must not change or
 * go away while the cursor or a slice from it is used.
 */
void belay__json_open(struct belay__json *json, struct belay_slice text);

/* The type of the value before the cursor, by its first byte: it may still
 * prove wrong. NONE if there is none or the byte begins no value.
 */
enum belay__json_type belay__json_type_ahead(const struct belay__json *json);

/* How far the cursor is: at the first byte of the value before it, or behind
 * the last one of what was consumed or left.
 */
static inline size_t
belay__json_offset(const struct belay__json *json)
{
    return (size_t)(json->at - json->begin);
}

/* The text from that far on up to the cursor. */
static inline struct belay_slice
belay__json_since(const struct belay__json *json, size_t offset)
{
    const char *start = json->begin + offset;

    return (struct belay_slice){start, (size_t)(json->at - start)};
}

/* Goes into the value before the cursor. False, and nothing has changed, if
 * it is of another type. The container ends when next gives false, or with
 * belay__json_leave(), and must be ended before its parent is asked again.
 */
bool belay__json_enter_object(struct belay__json *json);
bool belay__json_enter_array(struct belay__json *json);

/* To the next member or element of the innermost container; a value before
 * the cursor that was not consumed is skipped. False when the container has
 * ended (the cursor is then behind it) and after an error. *ret_key is good
 * only when the result is true.
 */
bool belay__json_next_member(
    struct belay__json *json, struct belay__json_value *ret_key);
bool belay__json_next_element(struct belay__json *json);

/* Consumes the value before the cursor, whatever it is, and checks all of it.
 * False, with *ret untouched, if it is not valid or there is none.
 */
bool belay__json_take(struct belay__json *json, struct belay__json_value *ret);

/* Skips what is left of the innermost container and goes behind it. */
void belay__json_leave(struct belay__json *json);

/* Checks all that is left, up to the end of the text. Returns 0, or
 * BELAY_EJSON with the place and reason in json->error.
 */
int belay__json_finish(struct belay__json *json);

/* Is text one valid value, and of which type? Errors: BELAY_EJSON, with the
 * place and reason in *ret_error. Either output may be NULL.
 */
int belay__json_check(struct belay_slice text, enum belay__json_type *ret_type,
    struct belay__json_error *ret_error);

#endif
