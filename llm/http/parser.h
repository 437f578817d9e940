/* parser.h - HTTP/1.x requests, fed in portions of any size (private).
 *
 * Holds one request at a time, whole: its target and header fields as
 * NUL-terminated texts, its body in one piece, transfer coding removed. Which
 * library splits the bytes is nobody else's business.
 *
 * Limits: a head of BELAY__HEAD_MAX bytes with BELAY__FIELDS_MAX fields, a
 * body of the size given at init.
 */
#ifndef BELAY_LLM_HTTP_PARSER_H
#define BELAY_LLM_HTTP_PARSER_H

#include "runtime/buffer.h"

#define BELAY__HEAD_MAX ((size_t)64 * 1024)
#define BELAY__FIELDS_MAX 100

/* Where the texts of a header field begin in the head. */
struct belay__field {
    uint32_t name;
    uint32_t value;
};

enum belay__head_part {
    BELAY__HEAD_TARGET,
    BELAY__HEAD_NAME,
    BELAY__HEAD_VALUE,
    BELAY__HEAD_WHOLE, /* what follows is the body */
};

struct belay__parser {
    uint64_t core[4];          /* the state of the library underneath */
    struct belay__buffer head; /* the target and all fields, with their NULs */
    struct belay__buffer body;
    struct belay__field fields[BELAY__FIELDS_MAX];
    uint32_t field_count;
    enum belay__head_part part; /* of the head, that comes in now */
    int status;          /* after a failure: the HTTP status to answer with */
    bool keep_alive;     /* the client wants to go on after this request */
    bool http10;         /* it speaks HTTP/1.0: no chunks in the reply */
    bool wants_continue; /* it waits for a 100 before it sends the body */
};

/* A parser that has seen nothing. memory is borrowed. */
void belay__parser_init(struct belay__parser *parser,
    struct belay__memory *memory, size_t max_body_bytes);
void belay__parser_fini(struct belay__parser *parser);

/* Forgets the request, for the next one on the same connection. */
void belay__parser_next(struct belay__parser *parser);

/* Takes in `len` bytes, not 0.
 *
 * Returns 1 if the request is whole; *ret_used bytes were its, the others
 * belong to the next one. Returns 0 if more is needed; all bytes are used.
 * Errors, after which only fini is legal; parser->status is set:
 *   BELAY_EPROTO     not HTTP, or a form that a server must refuse
 *   BELAY_ETOOLARGE  head or body over its limit
 *   BELAY_ENOMEM
 */
int belay__parser_feed(struct belay__parser *parser, const char *data,
    size_t len, size_t *ret_used);

/* The request's method, static text. Valid once the head is whole. */
const char *belay__parser_method(const struct belay__parser *parser);

/* The value of the first field with that name, in any case; NULL if there is
 * none. Valid until the next request.
 */
const char *belay__parser_field(
    const struct belay__parser *parser, const char *name);

#endif
