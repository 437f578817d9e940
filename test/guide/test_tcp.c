/* test_tcp.c - the connection and the server of docs/guide.md, taken from there,
 * with a cancel and a failed allocation at every point.
 */
#include "test/support/program.h"

#include GUIDE_SERVE_H

#include <string.h>

TestSuite(guide_tcp, .fini = check_clean, .timeout = 60);

/* ---- a server for a block: it echoes, or is deaf ---- */

#define PEERS_MAX 8

struct server {
    struct sockaddr_in *ret_address;
    bool deaf;
    uv_tcp_t listener;
    uv_tcp_t peers[PEERS_MAX];
    bool peer_open[PEERS_MAX];
    int peer_count;
    int handles; /* not yet closed */
    char buffer[256];
    struct belay_op closing;
};

static void
on_server_closed(uv_handle_t *handle)
{
    struct server *self = handle->data;

    if (--self->handles == 0 && belay_op_pending(&self->closing)) {
        belay_op_done(&self->closing, 0, NULL);
    }
}

static void
close_peer(struct server *self, uv_tcp_t *peer)
{
    self->peer_open[peer - self->peers] = false;
    uv_close((uv_handle_t *)peer, on_server_closed);
}

static void
on_peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct server *self = handle->data;

    (void)suggested;
    *ret = uv_buf_init(self->buffer, sizeof(self->buffer));
}

static void
on_peer_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
    uv_buf_t answer;

    if (len < 0) {
        close_peer(stream->data, (uv_tcp_t *)stream);
    } else if (len > 0) {
        answer = uv_buf_init(buffer->base, (unsigned)len);
        (void)uv_try_write(stream, &answer, 1); /* they may be gone */
    }
}

static void
on_peer(uv_stream_t *listener, int status)
{
    struct server *self = listener->data;
    uv_tcp_t *peer = &self->peers[self->peer_count];

    cr_assert(zero(int, status));
    cr_assert(lt(int, self->peer_count, PEERS_MAX));
    cr_assert(zero(int, uv_tcp_init(listener->loop, peer)));
    self->peer_open[self->peer_count++] = true;
    self->handles++;
    peer->data = self;
    cr_assert(zero(int, uv_accept(listener, (uv_stream_t *)peer)));
    if (!self->deaf) {
        cr_assert(zero(int,
            uv_read_start((uv_stream_t *)peer, on_peer_alloc, on_peer_read)));
    }
}

static belay_next
server_enter(belay_task *task, void *arg)
{
    struct server *self = arg;
    struct sockaddr *address = (struct sockaddr *)self->ret_address;
    int len = sizeof(*self->ret_address);
    uv_loop_t *loop = belay_runtime_loop(belay_task_runtime(task));

    cr_assert(zero(int, uv_tcp_init(loop, &self->listener)));
    self->listener.data = self;
    self->handles = 1;
    cr_assert(zero(int, uv_ip4_addr("127.0.0.1", 0, self->ret_address)));
    cr_assert(zero(int, uv_tcp_bind(&self->listener, address, 0)));
    cr_assert(zero(
        int, uv_listen((uv_stream_t *)&self->listener, PEERS_MAX, on_peer)));
    cr_assert(zero(int, uv_tcp_getsockname(&self->listener, address, &len)));
    return belay_return(task, self);
}

static belay_next
server_exit(belay_task *task, void *arg)
{
    struct server *self = arg;

    belay_op_begin_shielded(task, &self->closing);
    uv_close((uv_handle_t *)&self->listener, on_server_closed);
    for (int i = 0; i < self->peer_count; i++) {
        if (self->peer_open[i]) {
            close_peer(self, &self->peers[i]);
        }
    }
    return belay_end_with(task, belay_op_wait(&self->closing));
}

static const belay_manager server = {
    {"server", __FILE__, sizeof(struct server), server_enter, 0}, server_exit};

/* ---- talking to it ---- */

struct talk {
    struct sockaddr_in address;
    struct tcp *conn;
    char text[8];
    size_t len;
    size_t more;
    int turn;
};

BELAY_ASYNC(talk)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(server, .ret_address = &self->address)) {
        BELAY_WITH (tcp_open(task, &self->address, &self->conn)) {
            for (self->turn = 0; self->turn < 3; self->turn++) {
                BELAY_WITH (BELAY_ENTER(exchange, .conn = self->conn)) {
                    memcpy(self->text, "abcdefg", 8);
                    BELAY_AWAIT(tcp_write(task, self->conn, self->text, 8));
                    memset(self->text, 0, 8);
                    for (self->len = 0; self->len < 8;
                         self->len += self->more) {
                        BELAY_AWAIT(
                            tcp_read(task, self->conn, self->text + self->len,
                                8 - self->len, &self->more));
                        cr_assert(gt(sz, self->more, 0));
                    }
                    trace("%s", self->text);
                }
            }
        }
    }
    BELAY_END;
}

static void
check_talk(const struct belay_result *result, bool disturbed)
{
    if (!disturbed) {
        cr_expect(zero(int, result->code));
        expect_trace("abcdefg; abcdefg; abcdefg");
    } else if (result->code < 0 && result->code != BELAY_ENOMEM) {
        cr_expect(result->cancelled, "%s", belay_code_name(result->code));
    }
}

Test(guide_tcp, what_is_sent_comes_back)
{
    cr_expect(zero(int, RUN(talk, .turn = 0)));
    expect_trace("abcdefg; abcdefg; abcdefg");
}

Test(guide_tcp, nothing_is_left_wherever_a_cancel_or_a_shortage_comes)
{
    sweep(&(const struct program){.function = &talk,
        .arguments = &(const struct talk){.turn = 0},
        .check = check_talk});
}

/* ---- what is refused ---- */

struct refused {
    struct sockaddr_in address;
    struct tcp *conn;
};

BELAY_ASYNC(refused)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(server, .ret_address = &self->address)) {
    }
    BELAY_WITH (tcp_open(task, &self->address, &self->conn)) {
        trace("not reached");
    }
    trace("not reached");
    BELAY_END;
}

Test(guide_tcp, where_nobody_listens_the_block_is_not_entered)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, refused, .conn = NULL), -ECONNREFUSED));
    cr_expect(
        strstr(belay_error_message(result.error), "cannot connect to port ")
        != NULL);
    belay_error_unref(result.error);
    expect_trace("");
}

/* ---- a write that is cut, with a reader beside it ---- */

#define MANY (32 << 20) /* more than the sockets hold */

struct reader {
    struct tcp *conn;
    char byte;
    size_t len;
};

BELAY_ASYNC(reader)
{
    BELAY_BEGIN;
    BELAY_TRY(tcp_read(task, self->conn, &self->byte, 1, &self->len));
    trace("read %s", trace_result(belay_result(task)));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

struct writer {
    struct tcp *conn;
    char *bytes;
};

BELAY_ASYNC(writer)
{
    BELAY_BEGIN;
    BELAY_TRY(tcp_write(task, self->conn, self->bytes, MANY));
    trace("write %s", trace_result(belay_result(task)));
    BELAY_TRY(tcp_read(task, self->conn, self->bytes, 1, NULL));
    trace("then %s", trace_result(belay_result(task)));
    return belay_pass(task);
    BELAY_END;
}

struct cut {
    char *bytes;
    struct sockaddr_in address;
    struct tcp *conn;
    belay_group *group;
    belay_task *writer;
    int i;
};

struct cut_short {
    struct cut *of;
};

BELAY_ASYNC(cut_short)
{
    struct cut *of = self->of;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &of->group)) {
        BELAY_CHECK(belay_spawn(of->group, reader, .conn = of->conn));
        BELAY_CHECK(belay_group_spawn(of->group, &writer,
            &(const struct writer){of->conn, of->bytes},
            BELAY_SPAWN_OPTS(.task = &of->writer)));
        for (of->i = 0; of->i < 1000; of->i++) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        BELAY_TRY(tcp_read(task, of->conn, of->bytes, 1, NULL));
        trace("second read %s", trace_result(belay_result(task)));
        BELAY_TRY(tcp_write(task, of->conn, of->bytes, 1));
        trace("second write %s", trace_result(belay_result(task)));
        (void)belay_task_cancel(of->writer, "enough");
    }
    BELAY_END;
}

BELAY_ASYNC(cut)
{
    BELAY_BEGIN;
    BELAY_WITH (
        BELAY_ENTER(server, .ret_address = &self->address, .deaf = true)) {
        BELAY_WITH (tcp_open(task, &self->address, &self->conn)) {
            BELAY_WITH (dropping(task, &self->writer)) {
                BELAY_AWAIT(BELAY_CALL(cut_short, .of = self));
            }
            BELAY_WITH (BELAY_ENTER(exchange, .conn = self->conn)) {
                trace("not reached");
            }
        }
    }
    BELAY_END;
}

Test(guide_tcp, a_write_that_is_cut_closes_the_connection)
{
    char *bytes = calloc(MANY, 1);

    cr_assert(ne(ptr, bytes, NULL));
    cr_expect(eq(int, RUN(cut, .bytes = bytes), BELAY_ECLOSED));
    expect_trace("second read EBUSY; second write EBUSY; read ECLOSED; "
                 "write cancel; then cancel");
    free(bytes);
}

/* ---- on a stack and in a hold ---- */

struct elsewhere {
    struct sockaddr_in address;
    struct tcp *conns[2];
    belay_group *group;
    belay_stack *stack;
    belay_hold *hold;
};

static void
drop_hold(void *arg)
{
    belay_hold **hold = arg;

    belay_hold_unref(*hold);
    *hold = NULL;
}

struct echo {
    struct tcp *conn;
    const belay_hold *hold; /* that has it, or NULL */
    char byte;
    /* locals */
    size_t len;
};

static bool
is_gone(const belay_hold *hold)
{
    return hold != NULL && !belay_hold_is_open(hold);
}

BELAY_ASYNC(echo)
{
    BELAY_BEGIN;
    if (is_gone(self->hold)) {
        BELAY_FAIL(BELAY_ECLOSED, NULL);
    }
    BELAY_AWAIT(tcp_write(task, self->conn, &self->byte, 1));
    if (is_gone(self->hold)) {
        BELAY_FAIL(BELAY_ECLOSED, NULL);
    }
    self->byte = 0;
    BELAY_AWAIT(tcp_read(task, self->conn, &self->byte, 1, &self->len));
    trace("%c", self->byte);
    BELAY_END;
}

BELAY_ASYNC(elsewhere)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            BELAY_ENTER(server, .ret_address = &self->address), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            tcp_open(task, &self->address, &self->conns[0]), NULL));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_WITH (belay_defer(task, drop_hold, &self->hold)) {
                BELAY_AWAIT(belay_hold_open(task, self->group,
                    tcp_open(task, &self->address, &self->conns[1]), NULL,
                    &self->hold));
                BELAY_AWAIT(
                    BELAY_CALL(echo, .conn = self->conns[0], .byte = 'a'));
                BELAY_AWAIT(BELAY_CALL(echo, .conn = self->conns[1],
                    .hold = self->hold, .byte = 'b'));
            }
        }
    }
    BELAY_END;
}

Test(guide_tcp, it_goes_onto_a_stack_and_into_a_hold)
{
    const struct program program = {.function = &elsewhere,
        .arguments = &(const struct elsewhere){.hold = NULL}};

    program_other_code = BELAY_ECLOSED; /* the hold was cancelled first */
    cr_expect(zero(int, RUN(elsewhere, .hold = NULL)));
    expect_trace("a; b");
    sweep(&program);
}

/* ---- the guide's own server ---- */

struct caller {
    struct sockaddr_in address;
    struct tcp *conn;
    char byte;
    /* locals */
    size_t len;
};

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    BELAY_WITH (tcp_open(task, &self->address, &self->conn)) {
        BELAY_AWAIT(BELAY_CALL(echo, .conn = self->conn, .byte = self->byte));
    }
    BELAY_END;
}

struct served {
    belay_group *callers;
    struct sockaddr_in address;
};

BELAY_ASYNC(served)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(serving, .ret = &self->address)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->callers)) {
            BELAY_CHECK(belay_spawn(
                self->callers, caller, .address = self->address, .byte = 'a'));
            BELAY_CHECK(belay_spawn(
                self->callers, caller, .address = self->address, .byte = 'a'));
        }
    }
    BELAY_END;
}

Test(guide_tcp, the_server_leaves_nothing_whoever_fails)
{
    const struct program program = {.function = &served,
        .arguments = &(const struct served){.callers = NULL}};

    program_other_code = BELAY_EGROUP; /* with what has failed inside */
    cr_expect(zero(int, RUN(served, .callers = NULL)));
    expect_trace("a; a");
    sweep(&program);
}

struct failing {
    int code;
    struct sockaddr_in address;
};

BELAY_ASYNC(failing)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(serving, .ret = &self->address)) {
        BELAY_FAIL(self->code, "as the test says");
    }
    BELAY_END;
}

Test(guide_tcp, a_failure_of_the_servers_user_stays_the_users)
{
    cr_expect(eq(int, RUN(failing, .code = BELAY_EIO), BELAY_EIO));
}

/* ---- a goodbye ---- */

/* Says more than its guest reads. */
struct host {
    struct tcp listener;
    struct tcp *conn;
    char bytes[8];
    size_t len;
    size_t sum;
};

BELAY_ASYNC(host)
{
    struct tcp *listener = &self->listener;

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(tcp_handle, .conn = listener)) {
        BELAY_CHECK(tcp_listen(listener));
        BELAY_CHECK(belay_started(task, &listener->address));
        BELAY_AWAIT(belay_event_wait(task, &listener->arrived));
        BELAY_WITH (tcp_accept(task, listener, &self->conn)) {
            BELAY_AWAIT(
                tcp_write(task, self->conn, self->bytes, sizeof(self->bytes)));
            do {
                BELAY_AWAIT(tcp_read(task, self->conn, self->bytes,
                    sizeof(self->bytes), &self->len));
                self->sum += self->len;
            } while (self->len > 0);
            trace("%zu and the end", self->sum);
        }
    }
    BELAY_END;
}

struct guest {
    belay_group *group;
    void *value;
    struct sockaddr_in address;
    struct tcp *conn;
    char bytes[3];
};

BELAY_ASYNC(guest)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_AWAIT(
            belay_start(task, self->group, &self->value, host, .conn = NULL));
        self->address = *(struct sockaddr_in *)self->value;
        BELAY_WITH (BELAY_ENTER(
            polite_tcp, .address = self->address, .ret = &self->conn)) {
            BELAY_AWAIT(
                tcp_write(task, self->conn, self->bytes, sizeof(self->bytes)));
        }
        trace("gone");
    }
    BELAY_END;
}

Test(guide_tcp, a_goodbye_waits_for_the_end_of_the_other_side)
{
    const struct program program = {
        .function = &guest, .arguments = &(const struct guest){.conn = NULL}};

    program_other_code = BELAY_EGROUP;
    cr_expect(zero(int, RUN(guest, .conn = NULL)));
    expect_trace("3 and the end; gone");
    sweep(&program);
}
