/* test_batch_limit.c - how many requests a model gets at once.
 *
 * The servers here are simulated, event by event, on a clock of their own: a
 * request takes so many ticks, or is refused after one.
 */
#include "llm/batch/limit.h"
#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

TestSuite(batch_limit, .fini = check_clean, .timeout = 30);

static struct belay__limit limit;

/* Begins as many as there is room for. */
static uint32_t
fill(uint64_t *ret_begun)
{
    uint32_t count = 0;

    while (belay__limit_has_room(&limit)) {
        *ret_begun = belay__limit_begin(&limit);
        count++;
    }
    return count;
}

static void
end(uint32_t count, uint64_t begun, enum belay__limit_end how)
{
    for (uint32_t i = 0; i < count; i++) {
        belay__limit_end(&limit, begun, how);
    }
}

Test(batch_limit, b24_it_doubles_until_it_is_congested)
{
    uint64_t begun = 0;

    belay__limit_init(&limit, 0, 100);
    for (uint32_t wanted = 8; wanted <= 64; wanted *= 2) {
        cr_expect(eq(u32, fill(&begun), wanted));
        end(wanted, begun, BELAY__LIMIT_ANSWERED);
    }
    cr_expect(eq(u32, limit.limit, 100), "and no further than it may");
    end(fill(&begun), begun, BELAY__LIMIT_ANSWERED);
    cr_expect(eq(u32, limit.limit, 100));
}

Test(batch_limit, b24_all_of_128_refused_is_one_cut)
{
    uint64_t begun = 0;

    belay__limit_init(&limit, 128, 128);
    cr_expect(eq(u32, fill(&begun), 128));
    end(128, begun, BELAY__LIMIT_CONGESTED);
    cr_expect(eq(u32, limit.limit, 89));
    cr_expect(eq(u32, limit.in_use, 0));
}

Test(batch_limit, b24_a_server_that_answers_nobody_does_not_make_it_collapse)
{
    uint64_t begun = 0;

    belay__limit_init(&limit, 128, 128);
    for (int i = 0; i < 50; i++) {
        end(fill(&begun), begun, BELAY__LIMIT_CONGESTED);
    }
    cr_expect(eq(u32, limit.limit, 89));
    /* One answer later a refusal is about the load again. */
    end(fill(&begun) - 1, begun, BELAY__LIMIT_ANSWERED);
    belay__limit_end(&limit, begun, BELAY__LIMIT_CONGESTED);
    cr_expect(eq(u32, limit.limit, 62));
}

Test(batch_limit, b24_it_is_never_below_one)
{
    uint64_t begun = 0;

    belay__limit_init(&limit, 3, 3);
    for (int i = 0; i < 20; i++) {
        begun = belay__limit_begin(&limit);
        belay__limit_end(&limit, begun, BELAY__LIMIT_CONGESTED);
        begun = belay__limit_begin(&limit);
        belay__limit_end(&limit, begun, BELAY__LIMIT_ANSWERED);
    }
    cr_expect(eq(u32, limit.limit, 1));
}

Test(batch_limit, b24_what_is_not_used_does_not_grow)
{
    belay__limit_init(&limit, 8, 100);
    for (int i = 0; i < 100; i++) {
        belay__limit_end(
            &limit, belay__limit_begin(&limit), BELAY__LIMIT_ANSWERED);
    }
    cr_expect(eq(u32, limit.limit, 8));
}

Test(batch_limit, b24_what_says_nothing_changes_nothing)
{
    uint64_t begun = 0;

    belay__limit_init(&limit, 8, 100);
    for (int i = 0; i < 100; i++) {
        end(fill(&begun), begun, BELAY__LIMIT_UNKNOWN);
    }
    cr_expect(eq(u32, limit.limit, 8));
    cr_expect(eq(u64, limit.cuts, 0));
}

Test(batch_limit, b24_a_mishap_is_no_congestion)
{
    uint64_t begun = 0;

    belay__limit_init(&limit, 40, 40);
    for (int i = 0; i < 30; i++) {
        end(fill(&begun) - 1, begun, BELAY__LIMIT_ANSWERED);
        belay__limit_end(&limit, begun, BELAY__LIMIT_BUSY);
    }
    cr_expect(eq(u32, limit.limit, 40));
    (void)fill(&begun);
    end(2, begun, BELAY__LIMIT_BUSY);
    cr_expect(eq(u32, limit.limit, 28), "two in one window are");
    belay__limit_init(&limit, 8, 40);
    (void)fill(&begun);
    belay__limit_end(&limit, 0, BELAY__LIMIT_BUSY);
    cr_expect(eq(u32, limit.limit, 5), "or one in eight");
}

/* ---- servers with a capacity ---- */

#define REQUESTS_MAX 512

struct request {
    uint64_t ends; /* tick; 0: none */
    uint64_t begun;
    bool refused;
};

struct server {
    uint32_t capacity;
    uint32_t ticks;  /* that a request takes, at least */
    uint32_t spread; /* … and at most so many more */
    uint32_t serving;
    uint64_t answered;
    uint64_t refused;
    struct request requests[REQUESTS_MAX];
};

static struct server server;

static void
admit(uint64_t now)
{
    for (size_t i = 0; i < REQUESTS_MAX && belay__limit_has_room(&limit); i++) {
        struct request *request = &server.requests[i];

        if (request->ends != 0) {
            continue;
        }
        request->begun = belay__limit_begin(&limit);
        request->refused = server.serving >= server.capacity;
        request->ends =
            now
            + (request->refused
                    ? 1
                    : server.ticks + (uint32_t)rand() % (server.spread + 1));
        server.serving += !request->refused;
    }
}

static void
tick(uint64_t now)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = &server.requests[i];

        if (request->ends == 0 || request->ends > now) {
            continue;
        }
        request->ends = 0;
        server.serving -= !request->refused;
        server.answered += !request->refused;
        server.refused += request->refused;
        belay__limit_end(&limit, request->begun,
            request->refused ? BELAY__LIMIT_CONGESTED : BELAY__LIMIT_ANSWERED);
    }
    admit(now);
}

static void
run(uint64_t from, uint64_t to)
{
    for (uint64_t now = from; now < to; now++) {
        tick(now);
    }
}

Test(batch_limit, b24_a_server_of_fixed_capacity_is_used_and_not_flooded)
{
    static const uint32_t capacities[] = {10, 32, 100, 250};

    srand(1);
    for (int round = 0; round < 8; round++) {
        const uint32_t capacity = capacities[round / 2];
        uint64_t most;

        server = (struct server){.capacity = capacity,
            .ticks = 100,
            .spread = round % 2 == 0 ? 0 : 100};
        belay__limit_init(&limit, 0, REQUESTS_MAX);
        run(1, 6000); /* warm-up */
        server.answered = 0;
        server.refused = 0;
        run(6000, 106000);
        most = (uint64_t)capacity * 100000
               / (server.ticks + server.spread / 2); /* all places, always */
        cr_expect(ge(u64, server.answered * 10, most * 9), "%u: %llu of %llu",
            capacity, (unsigned long long)server.answered,
            (unsigned long long)most);
        cr_expect(lt(u64, server.refused * 50, server.answered),
            "%u: %llu refused of %llu", capacity,
            (unsigned long long)server.refused,
            (unsigned long long)server.answered);
    }
}

Test(batch_limit, b24_it_follows_a_capacity_that_changes)
{
    srand(2);
    server = (struct server){.capacity = 40, .ticks = 100, .spread = 50};
    belay__limit_init(&limit, 0, REQUESTS_MAX);
    run(1, 20000);
    cr_expect(ge(u32, limit.limit, 28));
    cr_expect(le(u32, limit.limit, 44));
    server.capacity = 200;
    run(20000, 40000);
    cr_expect(ge(u32, limit.limit, 140), "%u", limit.limit);
    server.capacity = 20;
    run(40000, 45000);
    cr_expect(le(u32, limit.limit, 24), "%u", limit.limit);
    server.answered = 0;
    server.capacity = 0; /* it is gone for some time */
    run(45000, 48000);
    cr_expect(le(u64, server.answered, 24), "those that were under way");
    cr_expect(ge(u32, limit.limit, 9));
}
