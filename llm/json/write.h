/* write.h - JSON text, appended to a buffer (private).
 *
 * The writer puts the commas; the caller opens and closes containers in
 * pairs and writes a key before each member. Errors stick: after the first
 * one nothing is written, and end takes back what was, so a sequence of
 * calls needs one look at the end.
 *
 *     belay__json_begin(&writer, &buffer);
 *     belay__json_open_object(&writer);
 *     belay__json_key(&writer, "model");
 *     belay__json_string(&writer, model);
 *     belay__json_close_object(&writer);
 *     code = belay__json_end(&writer);
 */
#ifndef BELAY_LLM_JSON_WRITE_H
#define BELAY_LLM_JSON_WRITE_H

#include "runtime/buffer.h"

struct belay__json_writer {
    struct belay__buffer *buffer;
    size_t start; /* where the buffer ended at begin */
    int code;     /* 0, or the first error */
    bool comma;   /* one is due before the next key or value */
};

/* Starts a value at the end of buffer, which is borrowed until end. */
void belay__json_begin(
    struct belay__json_writer *writer, struct belay__buffer *buffer);

/* Returns 0, or the first error (BELAY_ENOMEM, BELAY_ETOOLARGE); the buffer
 * then ends where it ended at begin.
 */
int belay__json_end(struct belay__json_writer *writer);

void belay__json_open_object(struct belay__json_writer *writer);
void belay__json_close_object(struct belay__json_writer *writer);
void belay__json_open_array(struct belay__json_writer *writer);
void belay__json_close_array(struct belay__json_writer *writer);

/* The key of the next member; key is NUL-terminated and escaped like any
 * string.
 */
void belay__json_key(struct belay__json_writer *writer, const char *key);

/* The same for a key that is JSON already, with its quotes. */
void belay__json_raw_key(
    struct belay__json_writer *writer, struct belay_slice raw);

/* A string. What is not UTF-8 becomes U+FFFD; a NUL becomes \u0000. */
void belay__json_string(
    struct belay__json_writer *writer, struct belay_slice text);
void belay__json_text(struct belay__json_writer *writer, const char *text);

void belay__json_int(struct belay__json_writer *writer, int64_t value);
void belay__json_bool(struct belay__json_writer *writer, bool value);
void belay__json_null(struct belay__json_writer *writer);

/* A value that is JSON already, byte for byte (L93). */
void belay__json_raw(struct belay__json_writer *writer, struct belay_slice raw);

/* The same on one line: valid JSON holds line breaks only between its tokens,
 * and they, no other byte, are left out (B4).
 */
void belay__json_raw_line(
    struct belay__json_writer *writer, struct belay_slice raw);

#endif
