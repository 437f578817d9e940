/* test_session_model.c - random programs of sessions beside a plain model.
 *
 * The model of a session is an array of messages, copied wherever the session
 * shares. After each operation, good or refused, the two must say the same.
 * It decides by itself, and over the whole array each time, what may be said.
 */
#include "test/support/session_program.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(session_model, .fini = check_clean, .timeout = 120);

#define MESSAGES_MAX 400
#define DEPTH_MAX 4
#define SEEDS 150
#define STEPS 60
#define SWEPT 3 /* before these, with fewer steps */
#define STEPS_SWEPT 20

/* How often what was to happen has happened, so that it cannot be never. */
static struct {
    unsigned said;
    unsigned refused;
    unsigned trimmed;
    unsigned forked;
    unsigned kept;
    unsigned undone;
} times;

/* ---- the model ---- */

/* kind: u, s and - as roles; A calls a, B calls a and b; a, b: results. */
struct line {
    char kind;
    unsigned number;
};

struct model {
    struct line lines[MESSAGES_MAX];
    size_t count;
};

static bool
is_result(char kind)
{
    return kind == 'a' || kind == 'b';
}

/* How many results stand behind the n-th; SIZE_MAX if not those of its calls.
 */
static size_t
results_behind(const struct model *model, size_t n)
{
    const char kind = model->lines[n].kind;
    size_t seen[2] = {0, 0};
    size_t i = n + 1;

    for (; i < model->count && is_result(model->lines[i].kind); i++) {
        seen[model->lines[i].kind - 'a']++;
    }
    if (seen[0] > (kind == 'A' || kind == 'B') || seen[1] > (kind == 'B')) {
        return SIZE_MAX;
    }
    return i - n - 1;
}

/* Is everything in its place; may the last calls still be open? */
static bool
is_valid(const struct model *model, bool open)
{
    size_t i = 0;

    if (model->count > 0 && is_result(model->lines[0].kind)) {
        return false;
    }
    while (i < model->count) {
        const char kind = model->lines[i].kind;
        const size_t wanted = kind == 'A' ? 1 : kind == 'B' ? 2 : 0;
        const size_t results = results_behind(model, i);

        if (results == SIZE_MAX) {
            return false;
        }
        i += 1 + results;
        if (results != wanted && !(open && i == model->count)) {
            return false;
        }
    }
    return true;
}

/* The oldest exchanges go until no more than `most` are left. */
static void
trim(struct model *model, size_t most)
{
    while (model->count > most) {
        struct model kept = {.count = 0};
        size_t end = 0;
        bool answered = false;

        while (end < model->count
               && !(model->lines[end].kind == 'u' && answered)) {
            answered |=
                model->lines[end].kind != 'u' && model->lines[end].kind != 's';
            end++;
        }
        for (size_t i = 0; i < model->count; i++) {
            if (i >= end || model->lines[i].kind == 's') {
                kept.lines[kept.count++] = model->lines[i];
            }
        }
        if (end == model->count || kept.count == model->count) {
            return; /* the last one, or nothing but system texts */
        }
        *model = kept;
    }
}

/* ---- the same in sessions ---- */

static unsigned
roll(uint64_t *state, unsigned sides)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(*state >> 33) % sides;
}

/* The texts live until the next call. */
static struct belay_llm_message
message_of(struct line line)
{
    static const struct belay_llm_tool_call both[] = {
        {{"a", 1}, {"look", 4}, {"{}", 2}}, {{"b", 1}, {"find", 4}, {"{}", 2}}};
    static char text[16];
    struct belay_llm_message message;

    (void)snprintf(text, sizeof(text), "%u", line.number);
    switch (line.kind) {
    case 'u':
        return belay_llm_message("user", text);
    case 's':
        return belay_llm_message("system", text);
    case 'a':
        return belay_llm_tool_result((struct belay_slice){"a", 1}, text, false);
    case 'b':
        return belay_llm_tool_result((struct belay_slice){"b", 1}, text, true);
    default:
        message = belay_llm_message("assistant", text);
        message.tool_calls = both;
        message.tool_call_count = line.kind == 'A'   ? 1
                                  : line.kind == 'B' ? 2
                                                     : 0;
        return message;
    }
}

static char
kind_of(const struct belay_llm_message *message)
{
    if (strcmp(message->role, "tool") == 0) {
        return message->tool_call_id.data[0];
    }
    if (strcmp(message->role, "assistant") == 0) {
        return "-AB"[message->tool_call_count];
    }
    return message->role[0];
}

static void
compare(const belay_llm_session *session, const struct model *model)
{
    struct belay_llm_session_stats stats;
    struct belay_llm_message message;

    if (program_disturbed) {
        return; /* the model knows no faults */
    }
    belay_llm_session_get_stats(session, &stats);
    cr_assert(eq(sz, stats.messages, model->count));
    for (size_t i = 0; i < model->count; i++) {
        cr_assert(
            zero(int, belay_llm_session_message(session, i, &message, NULL)));
        cr_assert(eq(chr, kind_of(&message), model->lines[i].kind));
        cr_assert(eq(u32, (unsigned)strtoul(message.content.data, NULL, 10),
            model->lines[i].number));
    }
}

struct player {
    belay_llm_session *session;
    struct model *model; /* its own */
    uint64_t *random;
    unsigned *numbers;
    int depth;
    int steps;
    belay_llm_turn *turn;
    struct model staged;
    belay_llm_session *fork;
    int end; /* how the turn is to end */
};

static struct line
next_line(struct player *self)
{
    static const char kinds[] = "uuus--ABaabb";

    return (struct line){
        kinds[roll(self->random, sizeof(kinds) - 1)], ++*self->numbers};
}

/* One to four messages, all or none. */
static void
append(struct player *self)
{
    struct belay_llm_message messages[4];
    struct model after = *self->model;
    const size_t count = 1 + roll(self->random, 4);
    char texts[4][16];
    bool good;

    for (size_t i = 0; i < count; i++) {
        const struct line line = next_line(self);

        messages[i] = message_of(line);
        (void)snprintf(texts[i], sizeof(texts[i]), "%u", line.number);
        messages[i].content = slice_of(texts[i]);
        cr_assert(lt(sz, after.count, MESSAGES_MAX));
        after.lines[after.count++] = line;
    }
    good = is_valid(&after, false);
    cr_assert(eq(int, belay_llm_session_append(self->session, messages, count),
        good ? 0 : BELAY_EINVAL));
    if (good) {
        *self->model = after;
        times.said++;
    } else {
        times.refused++;
    }
}

static void
trim_both(struct player *self)
{
    const size_t most = 1 + roll(self->random, 12);
    struct belay_llm_trimmed trimmed = {0}; /* a trial may leave it so */
    const size_t before = self->model->count;

    trim(self->model, most);
    cr_assert(zero(int,
        belay_llm_session_trim(self->session,
            &(const struct belay_llm_trim){.max_messages = most}, &trimmed)));
    cr_assert(eq(sz, trimmed.kept, self->model->count));
    cr_assert(eq(sz, trimmed.dropped, before - self->model->count));
    cr_assert(eq(int, trimmed.too_large, self->model->count > most));
    times.trimmed += trimmed.dropped > 0;
}

static void
round_trip(struct player *self)
{
    struct belay_llm_loaded loaded;
    char *text = strdup(session_text(self->session));

    cr_assert(zero(int, belay_llm_session_clear(self->session)));
    cr_assert(zero(
        int, belay_llm_session_read(self->session, slice_of(text),
                 (enum belay_llm_repair)roll(self->random, 2), &loaded, NULL)));
    cr_assert(eq(sz, loaded.left_out + loaded.results_made, 0));
    cr_assert(eq(str, (char *)(uintptr_t)session_text(self->session), text));
    free(text);
}

/* Up to eight messages in a turn that is under way. */
static void
say_some(struct player *self)
{
    for (unsigned n = roll(self->random, 8); n > 0; n--) {
        const struct line line = next_line(self);
        const struct belay_llm_message message = message_of(line);
        struct model after = self->staged;

        cr_assert(lt(sz, after.count, MESSAGES_MAX));
        after.lines[after.count++] = line;
        if (is_valid(&after, true)) {
            cr_assert(zero(int, belay_llm_turn_add(self->turn, &message)));
            self->staged = after;
        } else {
            cr_assert(eq(
                int, belay_llm_turn_add(self->turn, &message), BELAY_ESTATE));
        }
    }
}

static bool
is_complete(const struct player *self)
{
    const char last = self->staged.lines[self->staged.count - 1].kind;

    return is_valid(&self->staged, false) && last != 'u' && last != 's';
}

enum {
    END_WELL,
    END_DROPPED,
    END_FAILED,
    END_CANCELLED,
    ENDS,
};

BELAY_ASYNC_DECLARE(player);

BELAY_ASYNC(player)
{
    BELAY_BEGIN;
    for (; self->steps > 0; self->steps--) {
        switch (roll(self->random, 8)) {
        case 0:
        case 1:
            append(self);
            compare(self->session, self->model);
            continue;
        case 2:
            trim_both(self);
            compare(self->session, self->model);
            continue;
        case 3:
            round_trip(self);
            compare(self->session, self->model);
            continue;
        case 4:
            if (roll(self->random, 4) == 0) {
                cr_assert(zero(int, belay_llm_session_clear(self->session)));
                self->model->count = 0;
            }
            compare(self->session, self->model);
            continue;
        case 5:
            if (self->depth < DEPTH_MAX) {
                break; /* a fork */
            }
            continue;
        default:
            goto turn;
        }
        BELAY_WITH (
            belay_llm_session_fork(task, self->session, NULL, &self->fork)) {
            self->staged = *self->model;
            times.forked++;
            BELAY_AWAIT(BELAY_CALL(player, .session = self->fork,
                .model = &self->staged, .random = self->random,
                .numbers = self->numbers, .depth = self->depth + 1,
                .steps = self->steps / 2));
        }
        compare(self->session, self->model);
        continue;
    turn:
        self->staged = *self->model;
        self->end = (int)roll(self->random, ENDS);
        BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_ESTATE, -7001))) {
            BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
                BELAY_WITH (
                    belay_llm_turn_open(task, self->session, &self->turn)) {
                    say_some(self);
                    compare(self->session, self->model);
                    BELAY_AWAIT(belay_sleep(task, self->end == END_CANCELLED
                                                      ? belay_seconds(2)
                                                      : belay_milliseconds(1)));
                    say_some(self);
                    if (self->end == END_DROPPED) {
                        belay_llm_turn_drop(self->turn);
                    } else if (self->end == END_FAILED) {
                        BELAY_FAIL(-7001, "on purpose");
                    }
                }
            }
        }
        if (self->end == END_WELL && self->staged.count > self->model->count
            && is_complete(self)) {
            *self->model = self->staged;
            times.kept++;
        } else {
            times.undone += self->staged.count > self->model->count;
        }
        compare(self->session, self->model);
    }
    BELAY_END;
}

struct game {
    uint64_t random;
    unsigned steps;
    unsigned numbers;
    belay_llm_client *client;
    belay_llm_session *session;
    struct model model;
};

BELAY_ASYNC(game)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_llm_session_open(task, self->client,
            BELAY_LLM_SESSION_OPTS(.model = "m"), &self->session)) {
            BELAY_AWAIT(BELAY_CALL(player, .session = self->session,
                .model = &self->model, .random = &self->random,
                .numbers = &self->numbers, .steps = self->steps));
        }
    }
    BELAY_END;
}

Test(session_model, l66_to_l70_random_programs)
{
    for (uint64_t seed = 1; seed <= SEEDS + SWEPT; seed++) {
        program_unswept = seed > SWEPT; /* the others have no other places */
        cr_assert(zero(int, RUN(game, .random = seed * 7919,
                                .steps = seed > SWEPT ? STEPS : STEPS_SWEPT)),
            "seed %d", (int)seed);
    }
}
