/* chat_talk.c - questions of somebody who waits, and their answers.
 *
 * The scope round an answer is what Ctrl-C cancels: the turn is undone, what
 * was printed of it stays on the screen, and the next one begins. In it a
 * second task writes, so that an output which takes nothing holds up nothing
 * else.
 */
#include "cli/chat.h"

#include "llm/printable.h"

#include <belay/async.h>
#include <belay/managers.h>

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES 1024

/* ---- saying what is wrong ---- */

int
belay__chat_exit_code(int code)
{
    switch (code) {
    case BELAY_EBUDGET:
    case BELAY_ENOCAP:
    case BELAY_ENOPRICE:
        return BELAY__CHAT_NO_BUDGET;
    case BELAY_EAUTH:
    case BELAY_EQUOTA:
        return BELAY__CHAT_REFUSED;
    default:
        return BELAY__CHAT_NO_ANSWER;
    }
}

void
belay__chat_complain(
    struct belay__chat *chat, int exit_code, const struct belay_result *result)
{
    const char *message = result->error != NULL
                              ? belay_error_message(result->error)
                              : belay_code_text(result->code);

    (void)fprintf(
        stderr, "%sbelay chat: %s\n", chat->in_line ? "\n" : "", message);
    chat->in_line = false;
    chat->exit_code = exit_code;
}

/* ---- printing ---- */

/* The end of the piece: as many whole characters as fit. */
static size_t
piece_len(struct belay_slice text)
{
    size_t len = text.len;

    if (len <= PIECE_BYTES) {
        return len;
    }
    len = PIECE_BYTES;
    while (len > PIECE_BYTES - 4
           && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
        len--;
    }
    return len;
}

void
belay__chat_say(struct belay_slice text)
{
    char shown[3 * PIECE_BYTES];

    while (text.len > 0) {
        const struct belay_slice piece = {text.data, piece_len(text)};
        const size_t len = belay__printable_lines(piece, shown);

        (void)fwrite(shown, 1, len, stderr);
        text.data += piece.len;
        text.len -= piece.len;
    }
}

const char *
belay__chat_model(
    const struct belay__chat *chat, char out[static BELAY__CHAT_MODEL_BYTES])
{
    struct belay_llm_session_stats stats;

    belay_llm_session_get_stats(chat->session, &stats);
    (void)belay__printable(
        (struct belay_slice){stats.model, strlen(stats.model)}, NULL, out,
        BELAY__CHAT_MODEL_BYTES);
    return out;
}

static void
print_piece(struct belay__chat *chat, struct belay_slice piece)
{
    char shown[3 * PIECE_BYTES];
    struct belay_slice out = piece;

    if (!chat->options->raw) {
        out = (struct belay_slice){shown, belay__printable_lines(piece, shown)};
    }
    if (out.len == 0) {
        return;
    }
    chat->in_line = out.data[out.len - 1] != '\n';
    chat->write_code = belay__chat_output_put(&chat->output, out);
}

/* Returns 0, or why it cannot be written. */
static int
print_text(struct belay__chat *chat, struct belay_slice text)
{
    while (text.len > 0 && chat->write_code == 0) {
        const size_t len = piece_len(text);

        print_piece(chat, (struct belay_slice){text.data, len});
        text.data += len;
        text.len -= len;
    }
    return chat->write_code;
}

/* A file gets the answer as it is, a terminal whole lines. */
static void
end_line(struct belay__chat *chat)
{
    if (chat->in_line) {
        (void)print_text(chat, (struct belay_slice){"\n", 1});
    }
}

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    struct belay__chat *chat = arg;

    if (event->choice != 0
        || (event->type != BELAY_LLM_EVENT_TEXT
            && event->type != BELAY_LLM_EVENT_REFUSAL)) {
        return 0;
    }
    return print_text(chat, event->text);
}

static int
print_reply(struct belay__chat *chat, belay_llm_reply *reply)
{
    const struct belay_slice text = belay_llm_reply_text(reply);

    return print_text(
        chat, text.len > 0 ? text : belay_llm_reply_refusal(reply));
}

/* ---- a turn ---- */

struct turn {
    struct belay__chat *chat;
    const char *text;
    belay_llm_reply *heard; /* of a turn that is not kept yet */
    belay_llm_reply *reply; /* the turn is kept */
    belay_group *group;
    int code; /* what came of asking */
    belay_error *error;
};

static void
close_turn(void *arg)
{
    struct turn *turn = arg;

    belay_error_unref(turn->error);
    belay_llm_reply_free(turn->heard);
    belay_llm_reply_free(turn->reply);
    belay_cancel_scope_free(turn->chat->turn);
    turn->chat->turn = NULL;
}

static int
make_scope(belay_task *task, struct belay__chat *chat)
{
    return belay_cancel_scope_new(belay_task_runtime(task),
        BELAY_CANCEL_SCOPE_OPTS(.name = "answer"), &chat->turn);
}

static belay_next
time_limit(belay_task *task, const struct belay__chat *chat)
{
    const belay_duration timeout = chat->options->timeout;

    return timeout.ns > 0 ? belay_timeout(task, timeout)
                          : belay_null(task, NULL);
}

static int
say(belay_llm_turn *turn, const char *text)
{
    const struct belay_llm_message message = belay_llm_message("user", text);

    return belay_llm_turn_add(turn, &message);
}

struct hearing {
    struct turn *turn;
    belay_llm_turn *asked;
    belay_llm_stream *stream;
    struct belay_llm_event event;
};

/* No faster than it can be printed: the server is held back meanwhile. */
BELAY_ASYNC(hearing)
{
    struct turn *turn = self->turn;
    struct belay__chat *chat = turn->chat;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, chat->session, &self->asked)) {
        BELAY_CHECK(say(self->asked, turn->text));
        BELAY_WITH (belay_llm_turn_stream(task, self->asked,
            BELAY_LLM_STREAM_OPTS(.keep = &turn->heard), &self->stream)) {
            do {
                BELAY_AWAIT(
                    belay_llm_stream_next(task, self->stream, &self->event));
                BELAY_CHECK(on_event(&self->event, chat));
                if (belay__chat_output_is_full(&chat->output)) {
                    BELAY_AWAIT(belay__chat_output_wait(task, &chat->output));
                }
            } while (self->event.type != BELAY_LLM_EVENT_DONE);
        }
    }
    turn->reply = turn->heard;
    turn->heard = NULL;
    BELAY_END;
}

static belay_next
ask(belay_task *task, struct turn *self)
{
    struct belay__chat *chat = self->chat;

    return chat->options->stream || chat->conversation
               ? BELAY_CALL(hearing, .turn = self)
               : belay_llm_chat(task, chat->session, self->text, &self->reply);
}

static belay_next
save(belay_task *task, struct belay__chat *chat)
{
    return chat->options->session_path != NULL ? belay_llm_session_save(
               task, chat->session, chat->options->session_path)
                                               : belay_checkpoint(task);
}

struct asking {
    struct turn *turn;
};

BELAY_ASYNC(asking)
{
    BELAY_BEGIN;
    BELAY_WITH (time_limit(task, self->turn->chat)) {
        BELAY_AWAIT(ask(task, self->turn));
    }
    BELAY_END;
}

/* The answer is there, or has failed: what remains to be printed. */
static void
end_printing(struct turn *turn, const struct belay_result *result)
{
    struct belay__chat *chat = turn->chat;

    turn->code = result->code;
    turn->error = belay_error_ref(result->error);
    if (turn->code == 0) {
        if (!chat->options->stream && !chat->conversation) {
            (void)print_reply(chat, turn->reply);
        }
        end_line(chat);
    }
    belay__chat_output_end(&chat->output);
}

static void
say_cut_off(struct belay__chat *chat, bool kept)
{
    /* What takes no answer takes no message either, if it is the same. */
    if (!chat->output.stalled) {
        (void)fprintf(stderr, "%s(%s)\n", chat->in_line ? "\n" : "",
            kept ? "not all was printed; the turn is kept"
                 : "cut off; nothing of this turn is kept");
    }
    chat->in_line = false;
}

BELAY_ASYNC(turn)
{
    struct belay__chat *chat = self->chat;

    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, close_turn, self)) {
        BELAY_CHECK(make_scope(task, chat));
        BELAY_WITH (belay_cancel_scope_enter(task, chat->turn)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(
                    belay__chat_output_spawn(self->group, &chat->output));
                BELAY_TRY(BELAY_CALL(asking, .turn = self));
                if (belay_result(task)->cancelled) {
                    return belay_pass(task);
                }
                end_printing(self, belay_result(task));
            }
        }
        if (belay_cancel_scope_status(chat->turn).caught) {
            say_cut_off(chat, self->reply != NULL);
            if (self->reply == NULL) {
                BELAY_RETURN(NULL);
            }
        }
        if (chat->write_code == 0) {
            chat->write_code = chat->output.code;
        }
        if (self->code < 0) {
            return self->error != NULL
                       ? belay_fail_with(task, belay_error_ref(self->error))
                       : belay_fail(task, self->code, NULL);
        }
        BELAY_TRY(save(task, chat));
        if (belay_result(task)->code < 0 && !belay_result(task)->cancelled) {
            belay__chat_complain(chat, BELAY__CHAT_NO_FILE, belay_result(task));
        }
    }
    BELAY_END;
}

/* Round it: what is wrong is told here. */
struct told_turn {
    struct belay__chat *chat;
    const char *text;
};

BELAY_ASYNC(told_turn)
{
    struct belay__chat *chat = self->chat;

    BELAY_BEGIN;
    chat->exit_code = BELAY__CHAT_OK;
    BELAY_TRY(BELAY_CALL(turn, .chat = chat, .text = self->text));
    if (belay_result(task)->cancelled) {
        return belay_pass(task);
    }
    if (chat->write_code < 0) {
        (void)fprintf(stderr, "belay chat: the output cannot be written: %s\n",
            belay_code_text(chat->write_code));
        chat->exit_code = BELAY__CHAT_NO_FILE;
        chat->leave = true;
    } else if (belay_result(task)->code < 0) {
        belay__chat_complain(chat,
            belay__chat_exit_code(belay_result(task)->code),
            belay_result(task));
    }
    BELAY_END;
}

belay_next
belay__chat_turn(belay_task *task, struct belay__chat *chat, const char *text)
{
    return BELAY_CALL(told_turn, .chat = chat, .text = text);
}

/* ---- a conversation ---- */

struct converse {
    struct belay__chat *chat;
    struct belay_slice line;
};

static void
prompt(const struct belay__chat *chat)
{
    if (chat->terminal) {
        (void)fputs("> ", stderr);
        (void)fflush(stderr);
    }
}

/* Ctrl-C at the prompt: the first one might have been meant for the answer. */
static void
interrupted(struct belay__chat *chat)
{
    if (chat->asked_to_leave) {
        (void)fputc('\n', stderr);
        chat->leave = true;
        return;
    }
    chat->asked_to_leave = true;
    (void)fprintf(stderr, "\n(Ctrl-C once more leaves; so does Ctrl-D)\n");
}

static bool
is_blank(struct belay_slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] != ' ' && line.data[i] != '\t'
            && line.data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* Two slashes stand for one that is said. */
static bool
is_word(struct belay_slice line)
{
    return line.data[0] == '/' && line.data[1] != '/';
}

static belay_next
obey(belay_task *task, struct converse *self)
{
    char *line = self->chat->input.bytes.data; /* the same, to be changed */

    if (is_word(self->line)) {
        return belay__chat_word(task, self->chat, line);
    }
    return belay__chat_turn(task, self->chat, line[0] == '/' ? line + 1 : line);
}

/* A script ends with its first failure, somebody who types goes on. */
static bool
goes_on(const struct belay__chat *chat)
{
    return !chat->leave
           && (chat->terminal || chat->exit_code == BELAY__CHAT_OK);
}

BELAY_ASYNC(converse)
{
    struct belay__chat *chat = self->chat;

    BELAY_BEGIN;
    while (goes_on(chat)) {
        prompt(chat);
        BELAY_TRY(belay__chat_read_line(task, &chat->input, &self->line));
        if (belay_result(task)->code == BELAY_EAGAIN) {
            interrupted(chat);
            continue;
        }
        if (belay_result(task)->cancelled || chat->signal != 0) {
            return belay_pass(task);
        }
        if (belay_result(task)->code < 0) {
            belay__chat_complain(chat, BELAY__CHAT_NO_FILE, belay_result(task));
            BELAY_RETURN(NULL);
        }
        if (self->line.data == NULL) {
            if (chat->terminal) {
                (void)fputc('\n', stderr);
            }
            break;
        }
        chat->asked_to_leave = false;
        if (!is_blank(self->line)) {
            BELAY_AWAIT(obey(task, self));
        }
    }
    if (chat->terminal && chat->write_code == 0) {
        chat->exit_code = BELAY__CHAT_OK; /* what was wrong was seen */
    }
    BELAY_END;
}

belay_next
belay__chat_converse(belay_task *task, struct belay__chat *chat)
{
    return BELAY_CALL(converse, .chat = chat);
}
