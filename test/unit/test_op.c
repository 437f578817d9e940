/* test_op.c - the bridge, with real handles of libuv: S10, S126-S129. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <signal.h>
#include <string.h>

TestSuite(op, .fini = check_clean, .timeout = 30);

/* ---- a connect: it can be stopped by closing the handle only ---- */

struct link_up {
    bool listen;
    uv_tcp_t server;
    uv_tcp_t tcp;
    uv_connect_t request;
    struct belay_op op;
    struct belay_op closing;
    bool opened;
};

static void
on_connect(uv_connect_t *request, int status)
{
    struct link_up *self = request->data;

    belay_op_done(&self->op, status, NULL);
}

static enum belay_abort
connect_abort(struct belay_op *op)
{
    struct link_up *self =
        (struct link_up *)(void *)((char *)op - offsetof(struct link_up, op));

    trace("abort");
    self->opened = false;
    uv_close((uv_handle_t *)&self->tcp, NULL);
    return BELAY_ABORT_LATER;
}

static void
on_incoming(uv_stream_t *server, int status)
{
    (void)server;
    (void)status;
}

static int
make_listener(struct link_up *self, uv_loop_t *loop, struct sockaddr_in *ret)
{
    int len = sizeof(*ret);
    int code = uv_tcp_init(loop, &self->server);

    if (code == 0) {
        code = uv_ip4_addr("127.0.0.1", 0, ret);
    }
    if (code == 0) {
        code = uv_tcp_bind(&self->server, (const struct sockaddr *)ret, 0);
    }
    if (code == 0) {
        code = uv_listen((uv_stream_t *)&self->server, 4, on_incoming);
    }
    if (code == 0) {
        code = uv_tcp_getsockname(&self->server, (struct sockaddr *)ret, &len);
    }
    return code;
}

static belay_next
do_connect(belay_task *task, struct link_up *self)
{
    uv_loop_t *loop = belay_runtime_loop(belay_task_runtime(task));
    struct sockaddr_in address;
    int code;

    if (belay_op_begin(task, &self->op, connect_abort) < 0) {
        trace("not begun");
        return belay_op_wait(&self->op);
    }
    self->op.name = "connect";
    code = make_listener(self, loop, &address);
    cr_assert(zero(int, code));
    cr_assert(zero(int, uv_tcp_init(loop, &self->tcp)));
    self->opened = true;
    self->request.data = self;
    code = uv_tcp_connect(&self->request, &self->tcp,
        (const struct sockaddr *)&address, on_connect);
    if (code < 0) {
        belay_op_done(&self->op, code, NULL);
    }
    return belay_op_wait(&self->op);
}

static void
on_closed(uv_handle_t *handle)
{
    struct link_up *self = handle->data;

    belay_op_done(&self->closing, 0, NULL);
}

/* Closing waits for the callback: the handles are in the frame (S128). */
static belay_next
do_close(belay_task *task, struct link_up *self)
{
    if (self->opened) {
        uv_close((uv_handle_t *)&self->tcp, NULL);
        self->opened = false;
    }
    belay_op_begin_shielded(task, &self->closing);
    self->server.data = self;
    uv_close((uv_handle_t *)&self->server, on_closed);
    return belay_op_wait(&self->closing);
}

BELAY_ASYNC(link_up)
{
    BELAY_BEGIN;
    if (!self->listen) {
        BELAY_FAIL(BELAY_EINVAL, NULL);
    }
    BELAY_TRY(do_connect(task, self));
    trace("connect %s", trace_result(belay_result(task)));
    if (self->server.loop != NULL) {
        BELAY_TRY(do_close(task, self));
        trace("closed %s", trace_result(belay_result(task)));
    }
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

struct connector {
    belay_group *group;
    bool cancel;
};

BELAY_ASYNC(connector)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, link_up, .listen = true));
        BELAY_AWAIT(belay_checkpoint(task));
        if (self->cancel) {
            belay_group_cancel(self->group, NULL);
        }
    }
    BELAY_END;
}

Test(op, a_connection_is_made)
{
    cr_expect(eq(int, RUN(connector, .cancel = false), 0));
    expect_trace("connect ok; closed ok");
}

Test(op, s9_s128_s129_a_connect_is_aborted_by_closing_its_handle)
{
    cr_expect(eq(int, RUN(connector, .cancel = true), 0));
    expect_trace("abort; connect cancel; closed ok");
}

Test(op, s128_no_handle_outlives_its_frame_wherever_a_cancel_comes)
{
    SWEEP(connector, .cancel = false);
}

/* ---- a request in the thread pool ---- */

struct lookup {
    uv_getaddrinfo_t request;
    uv_fs_t fs;
    struct belay_op op;
    bool block;
};

static void
on_fs(uv_fs_t *request)
{
    struct lookup *self = request->data;
    int code = (int)request->result;

    uv_fs_req_cleanup(request);
    belay_op_done(&self->op, code < 0 ? code : 0, NULL);
}

static enum belay_abort
fs_abort(struct belay_op *op)
{
    struct lookup *self =
        (struct lookup *)(void *)((char *)op - offsetof(struct lookup, op));

    return uv_cancel((uv_req_t *)&self->fs) == 0 ? BELAY_ABORT_LATER
                                                 : BELAY_ABORT_REFUSED;
}

static belay_next
do_stat(belay_task *task, struct lookup *self, const char *path)
{
    int code;

    if (belay_op_begin(task, &self->op, fs_abort) < 0) {
        return belay_op_wait(&self->op);
    }
    self->fs.data = self;
    code = uv_fs_stat(
        belay_runtime_loop(belay_task_runtime(task)), &self->fs, path, on_fs);
    if (code < 0) {
        belay_op_done(&self->op, code, NULL);
    }
    return belay_op_wait(&self->op);
}

BELAY_ASYNC(lookup)
{
    BELAY_BEGIN;
    BELAY_AWAIT(do_stat(task, self, "/"));
    BELAY_TRY(do_stat(task, self, "/nowhere to be found"));
    trace("%s", trace_result(belay_result(task)));
    if (belay_result(task)->cancelled) {
        return belay_pass(task);
    }
    BELAY_END;
}

Test(op, codes_of_libuv_are_passed_on_as_they_are)
{
    cr_expect(eq(int, RUN(lookup, .block = false), 0));
    expect_trace("ENOENT");
}

Test(op, s129_pool_requests_end_wherever_a_cancel_comes)
{
    (void)sweep_cancels(&(const struct program){.function = &lookup,
        .arguments = &(const struct lookup){.block = false}});
}

/* ---- contract of the calls ---- */

struct twice {
    struct belay_op op;
    int which;
};

static belay_next
twice_step(belay_task *task, void *arg)
{
    struct twice *self = arg;

    cr_expect(not(belay_op_pending(&self->op)));
    (void)belay_op_begin(task, &self->op, NULL);
    cr_expect(belay_op_pending(&self->op));
    if (self->which == 0) {
        belay_op_done(&self->op, 0, NULL);
        cr_expect(not(belay_op_pending(&self->op)));
        belay_op_done(&self->op, 0, NULL);
        return belay_return(task, NULL); /* all is well, if that was */
    }
    return belay_op_begin(task, &self->op, NULL) < 0 ? belay_return(task, NULL)
                                                     : belay_op_wait(&self->op);
}

static const belay_function twice = {
    "twice", NULL, sizeof(struct twice), twice_step, 0};

Test(op, s127_a_second_completion_aborts, .signal = SIGABRT)
{
    (void)RUN(twice, .which = 0);
}

Test(op, a_second_start_while_pending_aborts, .signal = SIGABRT)
{
    (void)RUN(twice, .which = 1);
}

struct deaf {
    struct belay_op *op;
};

static belay_next
deaf_wait(belay_task *task, struct belay_op *op)
{
    (void)belay_op_begin(task, op, NULL);
    return belay_op_wait(op);
}

BELAY_ASYNC(deaf)
{
    BELAY_BEGIN;
    BELAY_TRY(deaf_wait(task, self->op));
    trace("got %s", trace_result(belay_result(task)));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

struct shouting {
    belay_group *group;
    struct belay_op op;
    int i;
};

static void
settle(void *op)
{
    if (belay_op_pending(op)) {
        belay_op_done(op, 0, NULL);
    }
}

BELAY_ASYNC(shouting)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_defer(task, settle, &self->op)) {
            BELAY_CHECK(belay_spawn(self->group, deaf, .op = &self->op));
            BELAY_AWAIT(belay_checkpoint(task));
            belay_group_cancel(self->group, NULL);
            BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
                for (self->i = 0; self->i < 10; self->i++) {
                    BELAY_AWAIT(belay_checkpoint(task));
                    if (self->i
                        > 0) { /* asked once; nobody else is ready now */
                        cr_expect(
                            zero(ptr, belay_task_runtime(task)->ready_first));
                    }
                }
            }
        }
    }
    BELAY_END;
}

Test(op, s8_s135_a_parked_task_that_cannot_be_cancelled_costs_nothing)
{
    cr_expect(eq(int, RUN(shouting, .i = 0), 0));
    expect_trace("got ok");
}

/* ---- what was not even begun ---- */

static belay_next
open_nothing(belay_task *task, int code)
{
    return belay_op_refuse(task, code);
}

struct refused {
    belay_stack *stack;
    belay_group *group;
    belay_hold *hold;
    struct belay_op op;
};

BELAY_ASYNC(refused)
{
    BELAY_BEGIN;
    self->op.data = self;
    BELAY_TRY(belay_op_refuse(task, BELAY_EPIPE));
    trace("%s", trace_result(belay_result(task)));
    cr_expect(eq(ptr, self->op.data, self));
    BELAY_TRY(belay_op_refuse(task, 0));
    trace("%s", trace_result(belay_result(task)));
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_TRY(belay_stack_enter(
            task, self->stack, open_nothing(task, BELAY_EBUSY), NULL));
        trace("stack %s", trace_result(belay_result(task)));
        cr_expect(zero(sz, belay_stack_count(self->stack)));
    }
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_TRY(belay_hold_open(task, self->group,
            open_nothing(task, BELAY_ENOSYS), NULL, &self->hold));
        trace("hold %s", trace_result(belay_result(task)));
    }
    BELAY_WITH (open_nothing(task, BELAY_ECLOSED)) {
        trace("not reached");
    }
    trace("not reached");
    BELAY_END;
}

Test(op, s94_what_is_refused_at_once_is_a_failure_like_any_other)
{
    cr_expect(eq(int, RUN(refused, .stack = NULL), BELAY_ECLOSED));
    expect_trace("EPIPE; EINVAL; stack EBUSY; hold ENOSYS");
}

struct refused_late {
    belay_task *self;
};

BELAY_ASYNC(refused_late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_nanoseconds(0), NULL)) {
        BELAY_TRY(belay_op_refuse(task, BELAY_ECLOSED));
        trace("%s", trace_result(belay_result(task)));
        BELAY_WITH (open_nothing(task, BELAY_ECLOSED)) {
            trace("not reached");
        }
    }
    trace("behind");
    BELAY_END;
}

Test(op, s13_a_refusal_is_a_checkpoint_and_a_cancel_comes_first)
{
    cr_expect(eq(int, RUN(refused_late, .self = NULL), 0));
    expect_trace("cancel; behind");
}

struct refused_twice {
    struct belay_op op;
};

BELAY_ASYNC(refused_twice)
{
    BELAY_BEGIN;
    (void)belay_op_begin(task, &self->op, NULL);
    BELAY_TRY(belay_op_refuse(task, BELAY_EPIPE));
    BELAY_END;
}

Test(op, a_refusal_with_an_operation_under_way_aborts, .signal = SIGABRT)
{
    (void)RUN(refused_twice, .op = {.state = 0});
}
