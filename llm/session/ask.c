/* ask.c - the model is asked within a turn, and its answer staged.
 *
 * `asking` is the block round each question, plain or streamed: from its
 * enter to its exit the turn is busy, the messages stay as they are, and
 * whoever leaves the turn or the session can cancel what is under way. Its
 * exit enters what was used into the books of turn and session, however the
 * question has ended.
 */
#include "llm/session/session.h"

#include "llm/account.h"
#include "llm/budget/budget.h"
#include "llm/reply.h"
#include "llm/stream.h"
#include "runtime/internal.h"

#include <belay/async.h>

#include <string.h>

/* ---- the block round a question ---- */

struct asking {
    belay_llm_turn *turn;      /* a reference, once entered */
    belay_cancel_scope *scope; /* round what is under way */
    struct belay_llm_chat chat;
    struct belay__history *history; /* a reference: what is asked */
    struct belay_llm_message *messages;
    size_t count;
    struct belay__llm_turn books; /* where it is entered … */
    struct belay_ledger ledger;   /* … and here */
    belay_llm_reply *reply;       /* ours, until it is given away */
    belay_llm_reply **keep;       /* NULL, or who wants it in any case */
    bool staged;
};

/* That of the session, or one within it that the task is in; NULL: the
 * session has none, and the call goes by its own.
 */
static belay_budget *
budget_of(const belay_task *task, const belay_llm_session *session)
{
    return session->budget != NULL
               ? belay__budget_innermost(task, session->budget)
               : NULL;
}

static int
open_asking(belay_task *task, struct asking *asking, belay_llm_turn *turn)
{
    const belay_llm_session *session = turn->session;
    const size_t count = belay__history_count(turn->history);
    int code = belay_cancel_scope_new(belay_task_runtime(task),
        BELAY_CANCEL_SCOPE_OPTS(.name = "llm question"), &asking->scope);

    if (code < 0) {
        return code;
    }
    asking->messages =
        belay__alloc(session->memory, count * sizeof(*asking->messages));
    if (count > 0 && asking->messages == NULL) {
        belay_cancel_scope_free(asking->scope);
        return BELAY_ENOMEM;
    }
    asking->count = count;
    belay__history_fill(turn->history, asking->messages);
    asking->history = belay__history_ref(turn->history);
    asking->chat = turn->settings->chat;
    asking->chat.messages = asking->messages;
    asking->chat.message_count = count;
    asking->chat.ledger = &asking->ledger;
    asking->chat.turn = &asking->books;
    asking->books = (struct belay__llm_turn){
        .session = session->id,
        .turn = turn->id,
        .parent_turn =
            session->last_turn[0] != '\0' ? session->last_turn : NULL,
        .budget = budget_of(task, session),
    };
    asking->turn = belay__turn_ref(turn);
    turn->asking = asking->scope;
    return 0;
}

/* ---- what was answered, as a message ---- */

static struct belay_slice
said_in(const struct belay_llm_choice *choice)
{
    return choice->text.len > 0 ? choice->text : choice->refusal;
}

/* Stages what has come of an answer that broke off: its text. */
static void
stage_partial(struct asking *asking)
{
    struct belay_llm_message message = {.role = "assistant"};
    struct belay_llm_choice choice;

    if (belay_llm_reply_choice(asking->reply, 0, &choice) < 0
        || said_in(&choice).len == 0) {
        return;
    }
    message.content = said_in(&choice);
    belay__turn_stage_partial(asking->turn, &message);
}

/* The calls of the answer, in memory to be freed with the message. */
static int
take_calls(
    struct asking *asking, size_t count, struct belay_llm_tool_call **ret)
{
    struct belay_llm_tool_call *calls =
        belay__alloc(asking->turn->session->memory, count * sizeof(*calls));

    if (count > 0 && calls == NULL) {
        return BELAY_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        (void)belay_llm_reply_tool_call(asking->reply, 0, i, &calls[i]);
    }
    *ret = calls;
    return 0;
}

/* Has it ended before it was whole? */
static bool
was_cut(const struct belay_llm_choice *choice)
{
    static const char word[] = "incomplete"; /* Responses may say no more */
    const struct belay_slice end = choice->end_text;

    return belay__llm_end_cuts(choice->end)
           || (choice->end == BELAY_LLM_END_UNKNOWN
               && end.len == sizeof(word) - 1
               && memcmp(end.data, word, end.len) == 0);
}

/* Errors: BELAY_ETRUNCATED, BELAY_EREPLY it cannot be answered;
 * BELAY_ETOOLARGE, BELAY_ENOMEM.
 */
static int
stage_answer(struct asking *asking)
{
    struct belay_llm_message message = {.role = "assistant"};
    struct belay_llm_tool_call *calls = NULL;
    struct belay_llm_choice choice;
    int code = belay_llm_reply_choice(asking->reply, 0, &choice);

    if (code < 0) {
        return BELAY_EREPLY;
    }
    if (choice.tool_call_count > 0 && was_cut(&choice)) {
        return BELAY_ETRUNCATED; /* its arguments end somewhere (L81) */
    }
    code = take_calls(asking, choice.tool_call_count, &calls);
    if (code < 0) {
        return code;
    }
    message.content = said_in(&choice);
    if (message.content.len == 0 && choice.tool_call_count == 0) {
        asking->turn->silent = true;
        asking->staged = true;
        return 0; /* servers take no message without content */
    }
    message.tool_calls = calls;
    message.tool_call_count = choice.tool_call_count;
    code = belay__turn_stage(asking->turn, &message);
    belay__free(asking->turn->session->memory, calls,
        choice.tool_call_count * sizeof(*calls));
    if (code == BELAY_EINVAL) {
        return BELAY_EREPLY;
    }
    asking->staged = code == 0;
    return code;
}

static belay_next
fail_staging(belay_task *task, int code)
{
    switch (code) {
    case BELAY_ETRUNCATED:
        return belay_fail(
            task, code, "the answer was cut within a call of a tool");
    case BELAY_EREPLY:
        return belay_fail(task, code,
            "the answer has a call of a tool that "
            "cannot be answered");
    case BELAY_ETOOLARGE:
        return belay_fail(task, code, "the session has no room for the answer");
    default:
        return belay_fail(task, code, NULL);
    }
}

/* ---- the block's exit ---- */

static void
close_asking(struct asking *asking)
{
    belay_llm_turn *turn = asking->turn;
    belay_llm_session *session = turn->session;

    turn->asking = NULL;
    belay_cancel_scope_free(asking->scope);
    belay_ledger_merge(&turn->ledger, &asking->ledger);
    belay_ledger_merge(&session->ledger, &asking->ledger);
    if (!asking->staged && session->keep_partial && asking->reply != NULL
        && !turn->over && !session->over
        && !belay_llm_reply_attempt(asking->reply)->will_retry) {
        stage_partial(asking); /* else it was told that all that is void */
    }
    if (asking->keep != NULL && asking->reply != NULL) {
        *asking->keep = asking->reply;
    } else {
        belay_llm_reply_free(asking->reply);
    }
    belay__free(session->memory, asking->messages,
        asking->count * sizeof(*asking->messages));
    belay__history_unref(session->memory, asking->history);
    belay__turn_unref(turn);
}

/* A manager whose state is the asker's. */
struct asking_scope {
    struct asking *asking;
    belay_llm_turn *turn;
    struct belay__life life;
};

static belay_next
asking_enter(belay_task *task, void *self)
{
    struct asking_scope *scope = self;
    belay_llm_turn *turn = scope->turn;
    int code;

    if (!belay__is_there(task, scope->life) || turn->over) {
        return belay_fail(task, BELAY_ECLOSED, "the turn has been left");
    }
    if (belay__session_client(turn->session) == NULL) {
        return belay_fail(task, BELAY_ECLOSED, "the %s has been left",
            turn->session->over ? "session" : "client");
    }
    if (turn->dropped) {
        return belay_fail(task, BELAY_ESTATE, "the turn was dropped");
    }
    if (turn->asking != NULL) {
        return belay_fail(task, BELAY_EBUSY, "another task asks in this turn");
    }
    if (belay__history_open_calls(turn->history) > 0) {
        return belay_fail(
            task, BELAY_ESTATE, "a call of a tool has no result yet");
    }
    code = open_asking(task, scope->asking, turn);
    return code < 0 ? belay_fail(task, code, NULL) : belay_return(task, NULL);
}

static belay_next
asking_exit(belay_task *task, void *self)
{
    struct asking_scope *scope = self;

    close_asking(scope->asking);
    return belay_return(task, NULL);
}

static belay_next
asking_open(belay_task *task, struct asking *asking, belay_llm_turn *turn,
    struct belay__life life)
{
    static const belay_manager manager = {
        {"asking", __FILE__, sizeof(struct asking_scope), asking_enter, 0},
        asking_exit};

    return belay_enter(
        task, &manager, &(const struct asking_scope){asking, turn, life});
}

/* The turn or the session was left, and that has ended what was under way. */
static bool
was_left(const struct asking *asking)
{
    return belay_cancel_scope_status(asking->scope).caught;
}

static belay_next
fail_left(belay_task *task, const struct asking *asking)
{
    const belay_llm_turn *turn = asking->turn;
    const char *what = turn->session->over ? "session" : "client";

    return belay_fail(task, BELAY_ECLOSED,
        "the %s was left while the model was asked",
        turn->over ? "turn" : what);
}

/* The session's client may have gone since the question was entered. */
static bool
may_ask(const struct asking *asking)
{
    return belay__session_client(asking->turn->session) != NULL;
}

/* ---- in one piece ---- */

struct ask {
    belay_llm_turn *turn;
    struct belay__life life;
    belay_llm_reply **ret;
    struct asking asking;
};

static belay_next
complete(belay_task *task, struct asking *asking)
{
    return belay_llm_complete(
        task, asking->turn->session->client, &asking->chat, &asking->reply);
}

static belay_next
ask_step(belay_task *task, void *frame)
{
    struct ask *self = frame;
    int code;

    BELAY_BEGIN;
    BELAY_WITH (asking_open(task, &self->asking, self->turn, self->life)) {
        BELAY_WITH (belay_cancel_scope_enter(task, self->asking.scope)) {
            if (!may_ask(&self->asking)) {
                return fail_left(task, &self->asking);
            }
            BELAY_AWAIT(complete(task, &self->asking));
        }
        if (was_left(&self->asking)) {
            return fail_left(task, &self->asking);
        }
        code = stage_answer(&self->asking);
        if (code < 0) {
            return fail_staging(task, code);
        }
        *self->ret = self->asking.reply;
        self->asking.reply = NULL;
    }
    BELAY_END;
}

belay_next
belay_llm_turn_ask(
    belay_task *task, belay_llm_turn *turn, belay_llm_reply **ret)
{
    static const belay_function function = {
        "llm ask", __FILE__, sizeof(struct ask), ask_step, 0};

    return belay_call(task, &function,
        &(const struct ask){.turn = turn, .life = turn->life, .ret = ret});
}

/* ---- bit by bit ---- */

struct listen {
    belay_llm_turn *turn;
    struct belay__life life;
    struct belay_llm_stream_opts opts;
    belay_llm_stream **ret;
    struct asking asking;
    belay_llm_stream *stream;
    bool complete;
};

static belay_next
open_stream(belay_task *task, struct listen *self)
{
    self->asking.keep = self->opts.keep;
    self->opts.keep = &self->asking.reply;
    return belay_llm_stream_open(task, self->asking.turn->session->client,
        &self->asking.chat, &self->opts, &self->stream);
}

static belay_next
listen_step(belay_task *task, void *frame)
{
    struct listen *self = frame;
    int code;

    BELAY_BEGIN;
    BELAY_WITH (asking_open(task, &self->asking, self->turn, self->life)) {
        BELAY_WITH (belay_cancel_scope_enter(task, self->asking.scope)) {
            if (!may_ask(&self->asking)) {
                return fail_left(task, &self->asking);
            }
            BELAY_WITH (open_stream(task, self)) {
                *self->ret = self->stream;
                BELAY_YIELD(self->stream);
                self->complete = self->stream->state == BELAY__STREAM_DONE;
            }
        }
        if (was_left(&self->asking)) {
            return fail_left(task, &self->asking);
        }
        code = self->complete ? stage_answer(&self->asking) : 0;
        if (code < 0) {
            return fail_staging(task, code);
        }
    }
    BELAY_END;
}

belay_next
belay_llm_turn_stream(belay_task *task, belay_llm_turn *turn,
    const struct belay_llm_stream_opts *opts, belay_llm_stream **ret)
{
    static const belay_manager manager = {
        {"llm turn stream", __FILE__, sizeof(struct listen), listen_step, 0},
        NULL};
    struct listen listen = {.turn = turn,
        .life = turn->life,
        .opts = {.size = sizeof(*opts)},
        .ret = ret};

    if (opts != NULL) {
        if (opts->size != sizeof(*opts)) {
            return belay__refuse(task, BELAY_EINVAL);
        }
        listen.opts = *opts;
    }
    return belay_enter(task, &manager, &listen);
}
