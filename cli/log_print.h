/* log_print.h - how `belay log` shows attempts (private).
 *
 * Texts are strangers': what goes to people passes belay__printable().
 */
#ifndef BELAY_CLI_LOG_PRINT_H
#define BELAY_CLI_LOG_PRINT_H

#include "cli/log.h"

/* A text in so many bytes at most; "-" if there is none. Gives `out`, or that. */
const char *belay__log_fit(struct belay_slice text, char *out, size_t size);
/* Dollars: "?" if not known, with a "≥" where it may be more (L52). */
const char *belay__log_cost(int64_t pico, bool at_least, char out[64]);
/* The model that was asked, or else that has answered. */
struct belay_slice belay__log_model(const struct belay__log_row *row);

/* To standard output, a line each. */
void belay__log_heading(void);
void belay__log_print_row(const struct belay__log_row *row);

/* Members of an object that is open; none for what is not known. */
void belay__log_put_text(
    struct belay__json_writer *json, const char *key, struct belay_slice text);
void belay__log_put_count(
    struct belay__json_writer *json, const char *key, int64_t count);
void belay__log_put_row(
    struct belay__json_writer *json, const struct belay__log_row *row);
/* Ends the object, prints the line, and empties the buffer. */
int belay__log_print_json(struct belay__json_writer *json);

/* The table of models, the dearest first; or lines of JSON, by `buffer`. */
int belay__log_print_costs(
    const struct belay__log *log, bool as_json, struct belay__buffer *buffer);

#endif
