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

struct belay__secret {
    struct belay_slice text;
    size_t *borders; /* what a search for it needs; see secret.c */
};

/* Of a text of any length but 0, which stays where it is, as do `borders`, room
 * for one more than its bytes.
 */
void belay__secret_init(
    struct belay__secret *secret, struct belay_slice text, size_t *borders);

/* Empty as long as only its memory is set; secret_list.c. */
struct belay__secrets {
    struct belay__memory *memory;
    struct belay__secret *items;
    size_t count;
};

/* Copies a text into the list; one that is too short is left out. Errors:
 * BELAY_ENOMEM; nothing has changed.
 */
int belay__secrets_add(struct belay__secrets *secrets, struct belay_slice text);
/* Wipes and frees; the list is then empty. */
void belay__secrets_fini(struct belay__secrets *secrets);

/* A secret is found as it is, and as JSON, and JSON in JSON, may write it ("\/",
 * "\u002b"); where several overlap, all of each. It takes a time that grows with
 * the length of the text, whatever stands in it and in the secrets, and with
 * their number. NULL is an empty list.
 */

/* Copies a text to `out`, of its length, with all of them overwritten by as
 * many '*', so that JSON strings stay such. Were there any?
 */
bool belay__secrets_hide(
    const struct belay__secrets *secrets, struct belay_slice text, char *out);

/* Which of the first `count` bytes, of at least one text's, belong to one? These
 * marks become 1, the others 0.
 */
void belay__secrets_find(const struct belay__secrets *secrets,
    struct belay_slice text, char *marks, size_t count);

/* How many of a text's last bytes, if it was cut there, may be the beginning of
 * one, of which at least BELAY__SECRET_LEAST bytes have come; 0: none are.
 */
size_t belay__secrets_begun(
    const struct belay__secrets *secrets, struct belay_slice text);

/* The same wherever a text may have been cut: at its end, and in front of each
 * quotation mark, since it may be JSON, or quote what was. Those of the first
 * `count` marks become `mark`; not much further is looked. Were there any?
 */
bool belay__secrets_mark_begun(const struct belay__secrets *secrets,
    struct belay_slice text, char mark, char *marks, size_t count);

#endif
