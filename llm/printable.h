/* printable.h - a stranger's text, made fit for a message (private). */
#ifndef BELAY_LLM_PRINTABLE_H
#define BELAY_LLM_PRINTABLE_H

#include <belay/base.h>

struct belay__secrets;

/* Writes `text` to out as one line of UTF-8 that no terminal obeys: control
 * characters become blanks (runs of them one), what is not UTF-8 becomes
 * U+FFFD, what `secrets` (NULL: none) cover without a gap "[key]", and so does
 * what may be the beginning of one where the text ends. What does not fit in
 * size - 1 bytes, or of a text that secrets are sought in is behind its first
 * pages, is cut between characters and ends with "...". Returns the length; out
 * ends with a NUL. size is at least 8. Rules: S2, S8.
 */
size_t belay__printable(struct belay_slice text,
    const struct belay__secrets *secrets, char *out, size_t size);

/* The same for a text of many lines, a piece of it at a time: line breaks and
 * tabs stay, and no blank is added or left out. Control characters are shown,
 * ESC as "^[", those that have no such form as U+FFFD; carriage returns are
 * left out. Pieces hold whole characters. out has room for three times the
 * text; it gets no NUL. Returns the length.
 */
size_t belay__printable_lines(struct belay_slice text, char *out);

#endif
