/* w4.c - a pool of slots, by hand on libuv.
 *
 * The floor under ../w4.c: a count of free slots, a list of those who wait, a
 * list of those who are ready. A turn of the loop goes on until TURN_STEPS
 * have run, else its poll would cost more than the tasks.
 */
#include <uv.h>

#include "bench/bench.h"
#include "bench/fifo.h"

#define TURN_STEPS 64

struct user {
    struct user *next;
    enum { ASK, USE, GIVE_BACK } state;
    long request;
};

struct list {
    struct user *first;
    struct user **last;
};

static struct {
    struct list ready;
    struct list waiting;
    long free_slots;
    long alive;
    long coming; /* users of later waves */
    long wave;
    struct fifo fifo;
} run;

static void
append(struct list *list, struct user *user)
{
    user->next = NULL;
    *list->last = user;
    list->last = &user->next;
}

static struct user *
take_first(struct list *list)
{
    struct user *user = list->first;

    if (user != NULL) {
        list->first = user->next;
        if (list->first == NULL) {
            list->last = &list->first;
        }
    }
    return user;
}

static void
use(struct user *user)
{
    fifo_grant(&run.fifo, user->request);
    user->state = GIVE_BACK;
    append(&run.ready, user);
}

static void
ask(struct user *user)
{
    user->request = fifo_ask(&run.fifo);
    user->state = USE;
    if (run.free_slots > 0) {
        run.free_slots--;
        use(user);
    } else {
        append(&run.waiting, user);
    }
}

static void
give_back(struct user *user)
{
    struct user *next = take_first(&run.waiting);

    if (next != NULL) {
        append(&run.ready, next);
    } else {
        run.free_slots++;
    }
    free(user);
    run.alive--;
}

static void
begin_wave(void)
{
    for (long i = 0; i < run.wave && run.coming > 0; i++) {
        struct user *user = must_alloc(1, sizeof(*user));

        append(&run.ready, user);
        run.coming--;
        run.alive++;
    }
}

static void
on_idle(uv_idle_t *idle)
{
    struct user *user;

    for (int steps = 0; steps < TURN_STEPS; steps++) {
        user = take_first(&run.ready);
        if (user == NULL) {
            break;
        }
        if (user->state == ASK) {
            ask(user);
        } else if (user->state == USE) {
            use(user);
        } else {
            give_back(user);
        }
    }
    if (run.alive == 0) {
        begin_wave();
    }
    if (run.alive == 0) {
        (void)uv_idle_stop(idle);
    }
}

int
main(int argc, char **argv)
{
    const long users = argument(argc, argv, 1, 100000);
    uv_loop_t *loop = uv_default_loop();
    struct moment start;
    struct moment end;
    uv_idle_t idle;
    char more[160];

    if (loop == NULL) {
        return 1;
    }
    run.ready.last = &run.ready.first;
    run.waiting.last = &run.waiting.first;
    run.free_slots = argument(argc, argv, 2, 8);
    run.coming = users;
    run.wave = argument(argc, argv, 3, users);
    fifo_init(&run.fifo, users);
    start = moment_now();
    (void)uv_idle_init(loop, &idle);
    begin_wave();
    (void)uv_idle_start(&idle, on_idle);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    end = moment_now();
    fifo_report(&run.fifo, more, sizeof(more));
    report(users, start, end, (uint64_t)run.fifo.granted, more);
    fifo_fini(&run.fifo);
    return 0;
}
