/* test_session_farewell.c - a cancel behind the end of an answer.
 *
 * The answer is complete, and its body has a moment to end too. Whoever is
 * cancelled then has the answer, its session keeps the turn, and the cancel
 * waits for the next checkpoint: L66, L67, L72 and S10.
 */
#include "test/support/session_scene.h"

#include "llm/stream.h"

TestSuite(session_farewell, .fini = check_clean, .timeout = 60);

static struct late {
    belay_llm_stream *stream; /* NULL: one that a callback listens to */
    bool told;                /* the callback has heard of the end */
    bool over;                /* the call has returned */
    bool in_farewell;         /* when it was cancelled */
} late;

static int
hear(const struct belay_llm_event *event, void *arg)
{
    (void)arg;
    late.told |= event->type == BELAY_LLM_EVENT_DONE;
    return 0;
}

static bool
says_farewell(void)
{
    return late.stream != NULL ? late.stream->state == BELAY__STREAM_DONE
                                     && !late.stream->exchange.ended
                               : late.told;
}

struct canceller {
    belay_cancel_scope *scope;
};

BELAY_ASYNC(canceller)
{
    BELAY_BEGIN;
    while (!says_farewell()) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    late.in_farewell = !late.over;
    belay_cancel_scope_cancel(self->scope, "on purpose");
    BELAY_END;
}

/* Begins a play: what it tries is cancelled. */
static int
begin_late(struct play *self)
{
    late = (struct late){.over = false};
    return belay_spawn(self->group, canceller, self->scope);
}

/* Nothing of it is lost, and the session goes on from there. */
static belay_next
expect_kept(belay_task *task, struct play *self)
{
    cr_expect(late.in_farewell);
    expect_messages(self->session, "[" U("one") "," A("ab") "]");
    cr_expect(eq(u64, stats_of(self->session).turns, 1));
    cr_expect(zero(u64, stats_of(self->session).undone));
    cr_expect(eq(u64, stats_of(self->session).ledger.attempts, 1));
    cr_expect(eq(i64, stats_of(self->session).ledger.usage.in_total, 10));
    cr_expect(eq(i64, stats_of(self->session).ledger.usage.out_total, 2));
    return belay_llm_chat(task, self->session, "two", &self->reply);
}

static void
expect_next(struct play *self)
{
    drop_reply(self);
    expect_asked(self->server, 1, "[" U("one") "," A("ab") "," U("two") "]");
}

static const struct fault_route kept_open[] = {
    FAULT_ON(
        PATH, FAULT_TEXT(STREAM_HEAD SAID("a") SAID("b") STOP), FAULT_DO_HANG),
    FAULT_ON(PATH, SAYS("2"))};

/* ---- told to a callback ---- */

PLAY(cancelled_late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_CHECK(begin_late(self));
            BELAY_TRY(belay_llm_chat_stream(
                task, NULL, "one", hear, NULL, &self->reply));
            late.over = true;
            cr_expect(zero(int, belay_result(task)->code));
            cr_assert(ne(ptr, self->reply, NULL));
            cr_expect(eq(
                str, TEXT(belay_llm_reply_text(self->reply).data), TEXT("ab")));
            drop_reply(self);
            BELAY_TRY(belay_checkpoint(task));
            cr_expect(belay_result(task)->cancelled);
        }
    }
    BELAY_AWAIT(expect_kept(task, self));
    expect_next(self);
    BELAY_END;
}

Test(session_farewell, l67_s10_a_cancel_behind_the_answer_keeps_the_turn)
{
    /* It waits for an answer, which in a trial may never come. */
    program_unswept = true;
    SCENE(kept_open, cancelled_late, .size = 0);
    SCENE(kept_open, cancelled_late, .keep_partial = true);
}

/* ---- asked for, event by event ---- */

static struct belay_llm_stream_opts stream_opts;

PLAY(reads_on)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "one")));
        BELAY_WITH (belay_llm_turn_stream(
            task, self->turn, &stream_opts, &self->stream)) {
            late.stream = self->stream;
            do {
                BELAY_AWAIT(
                    belay_llm_stream_next(task, self->stream, &self->event));
            } while (self->event.type != BELAY_LLM_EVENT_DONE);
            late.over = true;
        }
    }
    BELAY_END;
}

PLAY(cancelled_while_reading)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_CHECK(begin_late(self));
            BELAY_TRY(belay_call(task, &reads_on, self));
            cr_expect(zero(int, belay_result(task)->code));
            BELAY_TRY(belay_checkpoint(task));
            cr_expect(belay_result(task)->cancelled);
        }
    }
    BELAY_AWAIT(expect_kept(task, self));
    expect_next(self);
    BELAY_END;
}

Test(session_farewell, l67_s10_so_does_one_between_the_end_and_its_event)
{
    program_unswept = true;
    stream_opts = *BELAY_LLM_STREAM_OPTS(.restart = false);
    SCENE(kept_open, cancelled_while_reading, .size = 0);
    stream_opts.drain = belay_seconds(5);
    SCENE(kept_open, cancelled_while_reading, .size = 0);
}

/* ---- the session is left ---- */

struct teller {
    belay_llm_session *session;
    belay_llm_reply *reply;
};

BELAY_ASYNC(teller)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_llm_chat_stream(
        task, self->session, "one", hear, NULL, &self->reply));
    late.over = true;
    cr_expect(eq(int, belay_result(task)->code, BELAY_ECLOSED));
    cr_expect(eq(ptr, self->reply, NULL));
    BELAY_END;
}

static belay_next
open_inner(belay_task *task, struct play *self)
{
    return belay_llm_session_open(task, self->client,
        BELAY_LLM_SESSION_OPTS(.model = "m"), &self->session);
}

/* The task that asks is in a group outside of the session. */
PLAY(left_late)
{
    BELAY_BEGIN;
    late = (struct late){.over = false};
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (open_inner(task, self)) {
            BELAY_CHECK(
                belay_spawn(self->group, teller, .session = self->session));
            while (!says_farewell()) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            cr_expect(not(late.over));
        }
    }
    cr_expect(late.over);
    BELAY_END;
}

Test(session_farewell, l67_l72_a_session_that_was_left_keeps_no_turn)
{
    program_unswept = true;
    SCENE(kept_open, left_late, .size = 0);
}
