/* turn.c - one turn after the other, staged and kept or undone.
 *
 *   waiting -> open -> kept
 *        \-> refused \-> undone
 *
 * Who ends a turn hands the session to the one who has waited longest, within
 * the same call, so nobody comes in between. A turn is staged on top of what
 * its session has said, which nobody else changes meanwhile; keeping it moves
 * one pointer, undoing it lets go of one. Both allocate nothing.
 */
#include <belay/turn.h>

#include "llm/session/session.h"
#include "runtime/internal.h"

#include <belay/async.h>

/* ---- the object ---- */

belay_llm_turn *
belay__turn_ref(belay_llm_turn *turn)
{
    turn->refs++;
    return turn;
}

void
belay__turn_unref(belay_llm_turn *turn)
{
    belay_llm_session *session = turn->session;
    struct belay__memory *memory = session->memory;

    if (--turn->refs > 0) {
        return;
    }
    belay__history_unref(memory, turn->history);
    belay__history_unref(memory, turn->partial);
    belay__settings_unref(memory, turn->settings);
    belay__life_end(memory, &turn->life);
    belay__free(memory, turn, sizeof(*turn));
    belay_llm_session_unref(session);
}

static belay_llm_turn *
turn_new(const belay_task *task, belay_llm_session *session)
{
    belay_llm_turn *turn = belay__alloc_zero(session->memory, sizeof(*turn));

    if (turn == NULL) {
        return NULL;
    }
    if (belay__life_begin(session->memory, &turn->life) < 0) {
        belay__free(session->memory, turn, sizeof(*turn));
        return NULL;
    }
    turn->refs = 1;
    turn->session = belay_llm_session_ref(session);
    turn->task_id = belay_task_id(task);
    return turn;
}

/* ---- one after the other ---- */

static const struct belay__wait_kind turn_wait = {
    "llm turn", belay__abort_waiter};

/* From now on the session is this turn's. */
static void
begin(belay_llm_turn *turn)
{
    belay_llm_session *session = turn->session;

    session->turn = turn;
    turn->settings = belay__settings_ref(session->settings);
    turn->history = belay__history_ref(session->history);
    belay__session_new_id(session, turn->id);
}

static void
hand_over(belay_llm_session *session)
{
    belay_task *next = belay__waiters_first(&session->waiters);

    session->turn = NULL;
    if (next != NULL) {
        begin(next->wait.data);
        belay__wake(next, 0, NULL);
    }
}

void
belay__turns_end(belay_llm_session *session)
{
    belay_task *waiting;

    while ((waiting = belay__waiters_first(&session->waiters)) != NULL) {
        belay__wake(waiting, BELAY_ECLOSED, NULL);
    }
    if (session->turn != NULL && session->turn->asking != NULL) {
        belay_cancel_scope_cancel(
            session->turn->asking, "the session was left");
    }
}

/* ---- entering ---- */

struct turn_scope {
    belay_llm_session *session; /* NULL: the current one */
    struct belay__life session_life;
    belay_llm_turn **ret;
    belay_llm_turn *turn;
};

static belay_next
turn_entered(belay_task *task, void *self)
{
    struct turn_scope *scope = self;
    const int code = belay_result(task)->code;

    if (code < 0) {
        belay__turn_unref(scope->turn);
        return code == BELAY_ECLOSED
                   ? belay_fail(task, code, "the session has been left")
                   : belay_pass(task);
    }
    *scope->ret = scope->turn;
    return belay_return(task, scope->turn);
}

/* Why there can be no such turn. */
static int
judge(const belay_task *task, const belay_llm_session *session)
{
    if (session->over) {
        return BELAY_ECLOSED;
    }
    if (session->turn == NULL) {
        return 0;
    }
    if (session->turn->task_id == belay_task_id(task)) {
        return BELAY_EDEADLK;
    }
    return session->busy_fails ? BELAY_EBUSY : 0;
}

static belay_next
refuse(belay_task *task, int code)
{
    switch (code) {
    case BELAY_ECLOSED:
        return belay_fail(task, code, "the session has been left");
    case BELAY_EDEADLK:
        return belay_fail(
            task, code, "the task is in a turn of the session already");
    default:
        return belay_fail(
            task, code, "another turn of the session is under way");
    }
}

static belay_next
turn_enter(belay_task *task, void *self)
{
    struct turn_scope *scope = self;
    belay_llm_session *session = scope->session;
    int code;

    if (session == NULL) {
        session = belay_llm_session_current(task);
    } else if (!belay__is_there(task, scope->session_life)) {
        return refuse(task, BELAY_ECLOSED);
    }
    if (session == NULL) {
        return belay_fail(
            task, BELAY_ESTATE, "the task is in no session to say it in");
    }
    code = judge(task, session);
    if (code < 0) {
        return refuse(task, code);
    }
    scope->turn = turn_new(task, session);
    if (scope->turn == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    if (session->turn == NULL) {
        (void)belay__done_now(task, 0, NULL); /* a checkpoint all the same */
        if (belay_result(task)->code == 0) {
            begin(scope->turn);
        }
        return turn_entered(task, self);
    }
    if (belay__wait_begin(task, &turn_wait)) {
        task->wait.data = scope->turn;
        belay__waiters_push(&session->waiters, task);
    }
    return belay_then(task, turn_entered, belay__next(BELAY__HOW_WAIT));
}

/* ---- leaving ---- */

/* The session is what is staged. */
static void
keep(belay_llm_turn *turn, struct belay__history **staged)
{
    belay_llm_session *session = turn->session;
    struct belay__history *old = session->history;

    session->history = *staged;
    *staged = NULL;
    belay__history_unref(session->memory, old);
    session->turns++;
    memcpy(session->last_turn, turn->id, sizeof(turn->id));
}

static bool
has_answer(const belay_llm_turn *turn)
{
    const struct belay__said *last;

    if (turn->history == NULL) {
        return false; /* nothing was said */
    }
    last = turn->history->said;
    return (turn->silent || belay__said_is(last, "assistant")
               || belay__said_is(last, "tool"))
           && belay__history_open_calls(turn->history) == 0;
}

/* What becomes of the turn: kept, or undone; the code of the latter. */
static int
settle(belay_llm_turn *turn, bool ended_well)
{
    belay_llm_session *session = turn->session;
    const bool empty = turn->history == session->history;

    if (!turn->dropped && !session->over) {
        if (ended_well && empty) {
            return 0;
        }
        if (ended_well && has_answer(turn)) {
            keep(turn, &turn->history);
            return 0;
        }
        if (turn->partial != NULL) {
            keep(turn, &turn->partial);
            return 0;
        }
    }
    session->undone++;
    if (!ended_well || turn->dropped || empty) {
        return 0;
    }
    return session->over ? BELAY_ECLOSED : BELAY_ESTATE;
}

static belay_next
turn_exit(belay_task *task, void *self)
{
    struct turn_scope *scope = self;
    belay_llm_turn *turn = scope->turn;
    const struct belay__history *staged = turn->history;
    const bool asked = staged != NULL && !belay__said_is(staged->said, "user");
    const int code = settle(turn, belay_outcome(task)->code >= 0);

    turn->over = true;
    if (turn->asking != NULL) {
        belay_cancel_scope_cancel(turn->asking, "the turn was left");
    }
    hand_over(turn->session);
    belay__turn_unref(turn);
    if (code == BELAY_ECLOSED) {
        return belay_fail(
            task, code, "turn undone: the session was left before its end");
    }
    if (code < 0) {
        return belay_fail(task, code, "turn undone: %s",
            asked ? "a call of a tool has no result"
                  : "what was said has no answer");
    }
    return belay_return(task, NULL);
}

belay_next
belay_llm_turn_open(
    belay_task *task, belay_llm_session *session, belay_llm_turn **ret)
{
    static const belay_manager manager = {
        {"llm turn", __FILE__, sizeof(struct turn_scope), turn_enter, 0},
        turn_exit};
    struct turn_scope scope = {.session = session, .ret = ret};

    if (session != NULL) {
        scope.session_life = session->life;
    }
    return belay_enter(task, &manager, &scope);
}

/* ---- staging ---- */

static void
forget_partial(belay_llm_turn *turn)
{
    belay__history_unref(turn->session->memory, turn->partial);
    turn->partial = NULL;
}

int
belay__turn_stage(belay_llm_turn *turn, const struct belay_llm_message *message)
{
    const char *why;
    int code = belay__history_add(turn->session->memory, &turn->history,
        message, false, turn->session->max_bytes, &why);

    if (code == 0) {
        forget_partial(turn);
        turn->silent = false;
    }
    return code;
}

void
belay__turn_stage_partial(
    belay_llm_turn *turn, const struct belay_llm_message *message)
{
    struct belay__history *partial = belay__history_ref(turn->history);
    const char *why;
    int code = belay__history_add(turn->session->memory, &partial, message,
        true, turn->session->max_bytes, &why);

    if (code < 0) { /* then it is not kept */
        belay__history_unref(turn->session->memory, partial);
        return;
    }
    forget_partial(turn);
    turn->partial = partial;
}

int
belay_llm_turn_add(
    belay_llm_turn *turn, const struct belay_llm_message *message)
{
    if (turn->dropped || turn->over) {
        return BELAY_ESTATE;
    }
    if (turn->asking != NULL) {
        return BELAY_EBUSY;
    }
    if (belay__said_check(message) != NULL) {
        return BELAY_EINVAL;
    }
    if (belay__history_refuses(turn->history, message) != NULL) {
        return BELAY_ESTATE;
    }
    return belay__turn_stage(turn, message);
}

void
belay_llm_turn_drop(belay_llm_turn *turn)
{
    turn->dropped = true;
}

const struct belay_ledger *
belay_llm_turn_ledger(const belay_llm_turn *turn)
{
    return &turn->ledger;
}
