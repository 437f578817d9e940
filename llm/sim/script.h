/* script.h - what chosen requests get, from a file (private to llm/sim and the
 * command).
 *
 * A script is a list of rules, one JSON object each; the first that matches a
 * request decides. What they may say is told in belay-sim(1).
 */
#ifndef BELAY_LLM_SIM_SCRIPT_H
#define BELAY_LLM_SIM_SCRIPT_H

#include "llm/sim/format.h"

struct belay__sim_script;

struct belay__sim_header {
    const char *name;
    const char *value;
};

/* A rule. Slices are of the script's text: JSON as it stands there; of
 * strings, the inside.
 */
struct belay__sim_rule {
    /* Which requests. */
    uint64_t nth;    /* of all, from 1; 0: any */
    int64_t attempt; /* of the same bytes, from 0; -1: any */
    uint64_t times;  /* so many requests; 0: no limit */
    uint64_t used;   /* so far */
    int stream;      /* 0, 1; -1: either */
    bool has_model, has_path, has_prompt;
    struct belay_slice model;
    struct belay_slice path;
    struct belay_slice prompt; /* is in what the user has said last */
    /* What they get. */
    bool has_text, has_calls, has_body, has_fault;
    struct belay_slice *pieces;
    size_t piece_count;
    struct belay__sim_tool_call *calls;
    size_t call_count;
    struct belay_slice body; /* bytes */
    belay__sim_faults faults;
    int status;       /* 0: not told */
    int64_t delay_ns; /* -1: not told */
    double where;     /* -1: not told */
    struct belay_slice error_type;
    struct belay_slice error_code;
    const char *error_message; /* or NULL */
    struct belay__sim_header *headers;
    size_t header_count;
    struct belay_slice usage; /* JSON, or empty */
    struct belay_slice end;
};

/* What is known of a request when a rule is looked for. */
struct belay__sim_seen_request {
    uint64_t nth;
    uint64_t attempt;
    const char *path;
    const struct belay__sim_request *request;
};

#define BELAY__SIM_WHY_BYTES 200

/* Reads a script: an array of rules, or rules one after the other, as in
 * lines. Errors: BELAY_EINVAL, with the line and the cause in `why`;
 * BELAY_ENOMEM. The caller frees *ret.
 */
int belay__sim_script_parse(struct belay_slice text,
    struct belay__sim_script **ret, char why[BELAY__SIM_WHY_BYTES]);
/* The same of a file, with its name in `why`. Errors also: BELAY_EIO. */
int belay__sim_script_load(const char *path, struct belay__sim_script **ret,
    char why[BELAY__SIM_WHY_BYTES]);
void belay__sim_script_free(
    struct belay__sim_script *script); /* NULL is fine */

/* The rule for a request, counted as used, or NULL. */
const struct belay__sim_rule *belay__sim_script_find(
    struct belay__sim_script *script,
    const struct belay__sim_seen_request *seen);

#endif
