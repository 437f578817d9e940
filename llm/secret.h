/* secret.h - what no text may show (private to llm/).
 *
 * Servers quote requests in their errors, and people paste keys into prompts.
 * What is sent as a secret is kept here in one list, so that it can be found
 * again wherever a text is shown or kept. Rule: S2.
 */
#ifndef BELAY_LLM_SECRET_H
#define BELAY_LLM_SECRET_H

#include <belay/base.h>

/* What is shorter is no secret, but stands in every other text: "1", "true",
 * and the keys of servers that want none, as "EMPTY" or "ollama".
 */
#define BELAY__SECRET_LEAST 8

struct belay__memory;

/* Empty as long as only its memory is set. */
struct belay__secrets {
    struct belay__memory *memory;
    struct belay_slice *items; /* copies; the longest first */
    size_t count;
};

/* Copies a text into the list; one that is too short is left out. Errors:
 * BELAY_ENOMEM; nothing has changed.
 */
int belay__secrets_add(
    struct belay__secrets *secrets, struct belay_slice secret);
/* Wipes and frees; the list is then empty. */
void belay__secrets_fini(struct belay__secrets *secrets);

/* How many bytes at `at` are a secret, as it is or as JSON, and JSON in JSON,
 * may write it ("\/", "\u002b"); 0: none begins here. NULL is an empty list.
 */
size_t belay__secrets_match(
    const struct belay__secrets *secrets, const char *at, const char *end);

/* Overwrites all of them with as many '*', so that JSON strings stay such.
 * Were there any? NULL is an empty list.
 */
bool belay__secrets_hide(
    const struct belay__secrets *secrets, char *text, size_t len);

#endif
