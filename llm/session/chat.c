/* chat.c - a turn of one question, from begin to end. */
#include "llm/session/session.h"
#include "runtime/internal.h"

#include <belay/async.h>
#include <belay/managers.h>

struct chat {
    belay_llm_session *session; /* NULL: the current one */
    struct belay__life session_life;
    const char *text;
    belay_llm_event_fn *on_event;
    void *arg;
    belay_llm_reply **ret;
    bool stream;
    belay_llm_turn *turn;
    belay_llm_stream *heard;
    belay_llm_reply *reply;
};

/* The reply is ours until the turn is kept. */
static void
free_reply(void *arg)
{
    struct chat *self = arg;

    belay_llm_reply_free(self->reply);
    self->reply = NULL;
}

static int
say(const struct chat *self)
{
    const struct belay_llm_message message =
        belay_llm_message("user", self->text);

    return belay_llm_turn_add(self->turn, &message);
}

BELAY_ASYNC(chat)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_reply, self)) {
        if (self->session != NULL
            && !belay__is_there(task, self->session_life)) {
            return belay_fail(task, BELAY_ECLOSED, "the session has been left");
        }
        BELAY_WITH (belay_llm_turn_open(task, self->session, &self->turn)) {
            BELAY_CHECK(say(self));
            if (!self->stream) {
                BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
                break;
            }
            BELAY_WITH (belay_llm_turn_stream(task, self->turn,
                BELAY_LLM_STREAM_OPTS(.keep = &self->reply), &self->heard)) {
                BELAY_AWAIT(belay_llm_stream_run(
                    task, self->heard, self->on_event, self->arg));
            }
        }
        *self->ret = self->reply;
        self->reply = NULL;
    }
    BELAY_END;
}

static belay_next
chat_begin(belay_task *task, struct chat *arguments)
{
    if (arguments->session != NULL) {
        arguments->session_life = arguments->session->life;
    }
    return belay_call(task, &chat, arguments);
}

belay_next
belay_llm_chat(belay_task *task, belay_llm_session *session, const char *text,
    belay_llm_reply **ret)
{
    return chat_begin(
        task, &(struct chat){.session = session, .text = text, .ret = ret});
}

belay_next
belay_llm_chat_stream(belay_task *task, belay_llm_session *session,
    const char *text, belay_llm_event_fn *on_event, void *arg,
    belay_llm_reply **ret)
{
    return chat_begin(task, &(struct chat){
                                .session = session,
                                .text = text,
                                .on_event = on_event,
                                .arg = arg,
                                .ret = ret,
                                .stream = true,
                            });
}
