/* chat.h - what the files of `belay chat` share (private). */
#ifndef BELAY_CLI_CHAT_H
#define BELAY_CLI_CHAT_H

#include <belay/session_file.h>
#include <belay/timeout.h>
#include <belay/turn.h>

#include "cli/chat_input.h"
#include "cli/chat_options.h"
#include "cli/chat_output.h"

/* As for batches (B31). */
enum {
    BELAY__CHAT_OK = 0,
    BELAY__CHAT_NO_ANSWER = 1,
    BELAY__CHAT_BAD_USAGE = 2,
    BELAY__CHAT_NO_BUDGET = 3,
    BELAY__CHAT_REFUSED = 4,
    BELAY__CHAT_NO_FILE = 5,
    BELAY__CHAT_SIGNAL = 128, /* and its number */
};

struct belay__chat {
    const struct belay__chat_options *options;
    struct belay__chat_input input;
    struct belay__chat_output output;
    belay_task *task;
    belay_llm_session *session; /* its block's */
    belay_cancel_scope *turn;   /* round the answer that comes, or NULL */
    bool terminal;              /* somebody types */
    bool conversation;
    bool asked_to_leave; /* Ctrl-C at the prompt, and nothing since */
    bool leave;
    bool in_line;   /* what was printed last was no line break */
    int write_code; /* 0, or why the output cannot be written */
    int signal;     /* that ends it, or 0 */
    int exit_code;
};

/* ---- chat_talk.c ---- */

/* An await: asks, and prints the answer. Delivers 0 whatever comes of it; what
 * is wrong is said, and chat->exit_code is set. `text` lives until the end.
 */
belay_next belay__chat_turn(
    belay_task *task, struct belay__chat *chat, const char *text);

/* An await: turns and words until the end of the input. */
belay_next belay__chat_converse(belay_task *task, struct belay__chat *chat);

/* The name of the session's model, as one line that no terminal obeys: it may
 * be of somebody's file. Returns `out`.
 */
#define BELAY__CHAT_MODEL_BYTES 128
const char *belay__chat_model(
    const struct belay__chat *chat, char out[static BELAY__CHAT_MODEL_BYTES]);
/* The same for a text of many lines; to standard error. */
void belay__chat_say(struct belay_slice text);

/* Says what is wrong, to standard error; `code` negative. */
void belay__chat_complain(
    struct belay__chat *chat, int exit_code, const struct belay_result *result);
/* The exit code for a failure of a call. */
int belay__chat_exit_code(int code);

/* ---- chat_words.c ---- */

/* An await: does what a line that begins with a slash says. The line may be
 * changed.
 */
belay_next belay__chat_word(
    belay_task *task, struct belay__chat *chat, char *line);

#endif
