/* script_parse.h - what the two halves of the script's reader share (private
 * to llm/sim).
 */
#ifndef BELAY_LLM_SIM_SCRIPT_PARSE_H
#define BELAY_LLM_SIM_SCRIPT_PARSE_H

#include "llm/sim/script.h"

/* A cursor over the text, with the first error. */
struct belay__script_parsing {
    struct belay__sim_script *script;
    struct belay__json json;
    size_t base; /* where the JSON begins in the text */
    size_t at;   /* where the error is */
    int code;
    char *why;
};

/* Zeroed memory that lives as long as the script; NULL: there is none. */
void *belay__script_keep(struct belay__sim_script *script, size_t size);

/* Note the first error, at the cursor; all give false. */
bool belay__script_fail(struct belay__script_parsing *parsing, int code,
    const char *what, struct belay_slice name);
bool belay__script_fail_text(
    struct belay__script_parsing *parsing, const char *name, const char *what);
bool belay__script_no_memory(struct belay__script_parsing *parsing);

/* Takes the value of a rule's member; false after an error. */
bool belay__script_read_member(struct belay__script_parsing *parsing,
    const struct belay__json_value *key, struct belay__sim_rule *rule);

#endif
