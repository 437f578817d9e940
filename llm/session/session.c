/* session.c - the scope of a session, and what it has of its own.
 *
 * The object is counted, because snapshots of context variables and turns of
 * other tasks may outlive the block; once that is left it is `over`, and its
 * client is not touched any more. `history` is always complete: each call has
 * its result.
 */
#include "llm/session/session.h"

#include "llm/budget/budget.h"
#include "llm/client.h"
#include "runtime/internal.h"

#include <belay/async.h>
#include <belay/managers.h>

#include <time.h>

#define MAX_BYTES ((size_t)64 * 1024 * 1024)

/* ---- the object ---- */

static void
take_options(belay_llm_session *session,
    const struct belay_llm_session_opts *opts, const belay_llm_session *base)
{
    session->busy_fails = opts->busy_fails;
    session->keep_partial = opts->keep_partial;
    session->max_bytes = opts->max_bytes;
    if (base != NULL) {
        session->busy_fails |= base->busy_fails;
        session->keep_partial |= base->keep_partial;
        if (session->max_bytes == 0) {
            session->max_bytes = base->max_bytes;
        }
        session->history = belay__history_ref(base->history);
        memcpy(session->last_turn, base->last_turn, sizeof(session->last_turn));
    }
    if (session->max_bytes == 0) {
        session->max_bytes = MAX_BYTES;
    }
}

void
belay__session_new_id(belay_llm_session *session, char id[BELAY__ULID_BYTES])
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    belay__ulid_make(
        &session->ids, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, id);
}

int
belay__session_new(struct belay__memory *memory,
    const struct belay_llm_session_opts *opts, const belay_llm_session *base,
    belay_llm_session **ret)
{
    belay_llm_session *session = belay__alloc_zero(memory, sizeof(*session));

    if (session == NULL) {
        return BELAY_ENOMEM;
    }
    session->settings =
        belay__settings_new(memory, opts, base != NULL ? base->settings : NULL);
    if (session->settings == NULL
        || belay__life_begin(memory, &session->life) < 0) {
        belay__settings_unref(memory, session->settings);
        belay__free(memory, session, sizeof(*session));
        return BELAY_ENOMEM;
    }
    session->memory = belay__memory_ref(memory);
    session->refs = 1;
    take_options(session, opts, base);
    belay__session_new_id(session, session->id);
    *ret = session;
    return 0;
}

belay_llm_session *
belay_llm_session_ref(belay_llm_session *session)
{
    if (session != NULL) {
        session->refs++;
    }
    return session;
}

void
belay_llm_session_unref(belay_llm_session *session)
{
    struct belay__memory *memory;

    if (session == NULL || --session->refs > 0) {
        return;
    }
    memory = session->memory;
    assert(session->turn == NULL);
    belay__history_unref(memory, session->history);
    belay__settings_unref(memory, session->settings);
    belay_budget_unref(session->budget);
    belay__life_end(memory, &session->life);
    belay__free(memory, session, sizeof(*session));
    belay__memory_unref(memory);
}

/* ---- the current one ---- */

static void
destroy_value(void *value)
{
    belay_llm_session_unref(value);
}

static const struct belay_var current = {"llm session", destroy_value};

belay_llm_session *
belay_llm_session_current(const belay_task *task)
{
    return belay_var_get(task, &current);
}

/* A block in which the session is open, and the current one. */
struct ambient {
    belay_llm_session *session; /* a reference */
    struct belay_var_token token;
};

static belay_next
ambient_enter(belay_task *task, void *self)
{
    struct ambient *ambient = self;
    int code = belay_var_set(task, &current, ambient->session, &ambient->token);

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    (void)belay_llm_session_ref(ambient->session); /* the variable's */
    return belay_return(task, ambient->session);
}

static belay_next
ambient_exit(belay_task *task, void *self)
{
    struct ambient *ambient = self;
    int code = belay_var_reset(task, &current, &ambient->token);

    ambient->session->over = true;
    belay__turns_end(ambient->session);
    if (code < 0) {
        return belay_fail(task, code,
            "session left while one that was entered later is still open");
    }
    return belay_return(task, NULL);
}

static const belay_manager ambient_manager = {
    {"current session", __FILE__, sizeof(struct ambient), ambient_enter, 0},
    ambient_exit};

/* ---- the scope ---- */

struct session_scope {
    belay_llm_client *client;
    struct belay__life client_life;
    struct belay_llm_session_opts opts;
    belay_llm_session *base; /* of a fork */
    struct belay__life base_life;
    belay_llm_session **ret;
    belay_budget *around;       /* that of the client or the base; with … */
    belay_llm_session *session; /* … a reference each, once there is one */
};

static void
drop_session(void *arg)
{
    struct session_scope *self = arg;

    belay_budget_unref(self->around);
    belay_llm_session_unref(self->session);
    self->session = NULL;
}

static bool
has_limit(const struct belay_amount *limit)
{
    return limit->cost.pico != 0 || limit->tokens != 0 || limit->requests != 0;
}

static belay_next
open_budget(belay_task *task, struct session_scope *self)
{
    if (!has_limit(&self->opts.limit)) {
        return belay_null(task, NULL);
    }
    return belay_budget_open(task,
        BELAY_BUDGET_OPTS(.name = "session", .limit = self->opts.limit,
            .parent = belay__budget_innermost(task, self->around)),
        NULL);
}

static const char *
check(const struct session_scope *self)
{
    const struct belay_amount *limit = &self->opts.limit;

    if (limit->cost.pico < 0 || limit->tokens < 0 || limit->requests < 0) {
        return "a limit is negative";
    }
    return belay__settings_check(
        &self->opts, self->base != NULL ? self->base->settings : NULL);
}

/* From here on nothing is needed of client and base. */
static int
make(belay_task *task, struct session_scope *self)
{
    const belay_llm_session *base = self->base;
    belay_budget *budget = base != NULL ? base->budget : NULL;
    int code = belay__session_new(
        belay_task_runtime(task)->memory, &self->opts, base, &self->session);

    if (code < 0) {
        return code;
    }
    self->session->client = self->client;
    self->session->client_life = self->client_life;
    if (!has_limit(&self->opts.limit)) {
        self->session->budget = belay_budget_ref(budget);
    }
    self->around = belay_budget_ref(
        budget != NULL ? budget : self->client->budget); /* NULL: the current */
    return 0;
}

/* What was there when it was asked for, and is not any more; or NULL. */
static const char *
find_gone(const belay_task *task, const struct session_scope *self)
{
    if (self->base != NULL
        && (!belay__is_there(task, self->base_life) || self->base->over)) {
        return "session";
    }
    return belay__is_there(task, self->client_life) ? NULL : "client";
}

static belay_next
session_step(belay_task *task, void *frame)
{
    struct session_scope *self = frame;
    const char *why;

    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_session, self)) {
        why = find_gone(task, self);
        if (why != NULL) {
            return belay_fail(task, BELAY_ECLOSED, "the %s was left", why);
        }
        why = check(self);
        if (why != NULL) {
            return belay_fail(
                task, BELAY_EINVAL, "session cannot be opened: %s", why);
        }
        BELAY_CHECK(make(task, self));
        BELAY_WITH (open_budget(task, self)) {
            if (self->session->budget == NULL && has_limit(&self->opts.limit)) {
                self->session->budget =
                    belay_budget_ref(belay_budget_current(task));
            }
            BELAY_WITH (belay_enter(task, &ambient_manager,
                &(const struct ambient){.session = self->session})) {
                if (self->ret != NULL) {
                    *self->ret = self->session;
                }
                BELAY_YIELD(self->session);
            }
        }
    }
    BELAY_END;
}

static belay_next
enter_scope(belay_task *task, const struct session_scope *scope)
{
    static const belay_manager manager = {
        {"llm session", __FILE__, sizeof(struct session_scope), session_step,
            0},
        NULL};

    return belay_enter(task, &manager, scope);
}

belay_next
belay_llm_session_open(belay_task *task, belay_llm_client *client,
    const struct belay_llm_session_opts *opts, belay_llm_session **ret)
{
    if (opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return enter_scope(task, &(const struct session_scope){.client = client,
                                 .client_life = client->life,
                                 .opts = *opts,
                                 .ret = ret});
}

belay_next
belay_llm_session_fork(belay_task *task, belay_llm_session *session,
    const struct belay_llm_session_opts *opts, belay_llm_session **ret)
{
    struct session_scope scope = {
        .base = session, .base_life = session->life, .ret = ret};

    if (opts != NULL && opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (session->over) {
        return belay__refuse(task, BELAY_ECLOSED);
    }
    if (opts != NULL) {
        scope.opts = *opts;
    }
    scope.client = session->client;
    scope.client_life = session->client_life;
    return enter_scope(task, &scope);
}

/* ---- what was said ---- */

int
belay_llm_session_append(belay_llm_session *session,
    const struct belay_llm_message *messages, size_t count)
{
    struct belay__history *history = belay__history_ref(session->history);
    const char *why;
    int code = belay__session_is_free(session) ? 0 : BELAY_EBUSY;

    for (size_t i = 0; code == 0 && i < count; i++) {
        code = belay__history_add(session->memory, &history, &messages[i],
            false, session->max_bytes, &why);
    }
    if (code == 0 && belay__history_open_calls(history) > 0) {
        code = BELAY_EINVAL;
    }
    if (code < 0) {
        belay__history_unref(session->memory, history);
        return code;
    }
    belay__history_unref(session->memory, session->history);
    session->history = history;
    return 0;
}

int
belay_llm_session_clear(belay_llm_session *session)
{
    if (!belay__session_is_free(session)) {
        return BELAY_EBUSY;
    }
    belay__history_unref(session->memory, session->history);
    session->history = NULL;
    session->last_turn[0] = '\0';
    return 0;
}

int
belay_llm_session_message(const belay_llm_session *session, size_t n,
    struct belay_llm_message *ret, bool *ret_incomplete)
{
    const struct belay__said *said;

    if (n >= belay__history_count(session->history)) {
        return BELAY_ENOENT;
    }
    said = belay__history_nth(session->history, n);
    *ret = said->message;
    if (ret_incomplete != NULL) {
        *ret_incomplete = said->incomplete;
    }
    return 0;
}

void
belay_llm_session_get_stats(
    const belay_llm_session *session, struct belay_llm_session_stats *ret)
{
    *ret = (struct belay_llm_session_stats){
        .id = session->id,
        .model = session->settings->chat.model,
        .system = session->settings->chat.system,
        .messages = belay__history_count(session->history),
        .bytes = belay__history_bytes(session->history),
        .tokens = belay__history_tokens(session->history),
        .turns = session->turns,
        .undone = session->undone,
        .ledger = session->ledger,
        .budget = session->budget,
        .in_turn = session->turn != NULL,
        .waiting = belay__waiters_count(&session->waiters),
    };
}
