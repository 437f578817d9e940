/* fate.c - what happens to a request, by dice that always fall the same way.
 *
 * The dice are seeded with the body's hash and the number of the attempt, and
 * thrown in a fixed order whether or not an option wants the throw, so that
 * turning one fault on leaves the others where they were.
 */
#include "llm/sim/internal.h"

#include <math.h>

#define SEEN_ROOM_MIN 1024
#define SEEN_ROOM_MAX ((size_t)1 << 23) /* 128 MiB */

#define LOGNORMAL_SIGMA 0.5
#define LOGNORMAL_MOST 20.0
#define TWO_PI 6.283185307179586

uint64_t
belay__sim_roll(struct belay__sim_dice *dice)
{
    uint64_t x = dice->state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

double
belay__sim_draw(struct belay__sim_dice *dice)
{
    return (double)(belay__sim_roll(dice) >> 11) * 0x1.0p-53;
}

uint64_t
belay__sim_hash(struct belay_slice bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < bytes.len; i++) {
        hash ^= (unsigned char)bytes.data[i];
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}

static double
latency_factor(enum belay__sim_spread spread, double first, double second)
{
    double normal;
    double factor;

    switch (spread) {
    case BELAY__SIM_FIXED:
        break;
    case BELAY__SIM_UNIFORM:
        return 0.5 + first;
    case BELAY__SIM_LOGNORMAL:
        /* Box and Muller; 1 - first is never 0. */
        normal = sqrt(-2.0 * log(1.0 - first)) * cos(TWO_PI * second);
        factor = exp(LOGNORMAL_SIGMA * normal);
        return factor < LOGNORMAL_MOST ? factor : LOGNORMAL_MOST;
    }
    return 1.0;
}

void
belay__sim_draw_fate(const struct belay__sim_opts *opts, uint64_t hash,
    uint64_t attempt, struct belay__sim_fate *ret)
{
    static const enum belay__sim_fault broken[] = {BELAY__FAULT_S500,
        BELAY__FAULT_S502, BELAY__FAULT_S503, BELAY__FAULT_S529};
    struct belay__sim_dice dice = {opts->seed ^ hash};
    belay__sim_faults faults = 0;
    double limited;
    double failing;
    double cut;
    double stall;
    double first;
    double second;
    uint64_t which;
    bool rude;

    dice.state = belay__sim_roll(&dice) + attempt;
    ret->id = belay__sim_roll(&dice);
    limited = belay__sim_draw(&dice);
    failing = belay__sim_draw(&dice);
    which = belay__sim_roll(&dice);
    cut = belay__sim_draw(&dice);
    stall = belay__sim_draw(&dice);
    rude = (belay__sim_roll(&dice) & 1) != 0;
    ret->where = belay__sim_draw(&dice);
    first = belay__sim_draw(&dice);
    second = belay__sim_draw(&dice);

    if (limited < opts->fail_429) {
        faults = belay__sim_fault_bit(BELAY__FAULT_S429);
    } else if (failing < opts->fail_5xx) {
        faults = belay__sim_fault_bit(broken[which % 4]);
    }
    if (cut < opts->cut) {
        faults |=
            belay__sim_fault_bit(rude ? BELAY__FAULT_RESET : BELAY__FAULT_CUT);
    } else if (stall < opts->stall && faults == 0) {
        faults |= belay__sim_fault_bit(
            rude ? BELAY__FAULT_STALL_HEAD : BELAY__FAULT_STALL);
    }
    ret->faults = faults;
    ret->latency = BELAY_DURATION_NS(
        belay__sim_ns((double)opts->latency.ns
                      * latency_factor(opts->spread, first, second)));
}

/* Dice for each, so that one fault's chance moves no other. */
void
belay__sim_draw_faults(const struct belay__sim_opts *opts, uint64_t hash,
    uint64_t attempt, struct belay__sim_fate *fate)
{
    for (uint64_t i = 0; i < BELAY__SIM_FAULTS; i++) {
        struct belay__sim_dice dice = {opts->seed ^ hash ^ (i + 1) << 48};

        if (opts->faults[i] <= 0) {
            continue;
        }
        dice.state = belay__sim_roll(&dice) + attempt;
        if (belay__sim_draw(&dice) < opts->faults[i]) {
            fate->faults |= belay__sim_fault_bit((enum belay__sim_fault)i);
        }
    }
}

int
belay__sim_faults_status(belay__sim_faults faults)
{
    for (int i = 0; faults != 0 && i < BELAY__SIM_FAULTS; i++) {
        const enum belay__sim_fault fault = (enum belay__sim_fault)i;

        if (belay__sim_has(faults, fault)
            && belay__sim_fault_status(fault) != 0) {
            return belay__sim_fault_status(fault);
        }
    }
    return 200;
}

/* ---- what has been seen ---- */

/* The place of a hash, or the free one where it belongs. */
static struct belay__sim_place *
find(struct belay__sim_place *places, size_t room, uint64_t hash)
{
    size_t at = (size_t)(hash ^ (hash >> 32)) & (room - 1);

    while (places[at].hash != 0 && places[at].hash != hash) {
        at = (at + 1) & (room - 1);
    }
    return &places[at];
}

static bool
make_room(struct belay__sim_seen *seen)
{
    const size_t room = seen->room == 0 ? SEEN_ROOM_MIN : seen->room * 2;
    struct belay__sim_place *places;

    if (seen->room > 0 && seen->count < seen->room / 4 * 3) {
        return true;
    }
    if (room > SEEN_ROOM_MAX) {
        return false;
    }
    places = belay__alloc_zero(seen->memory, room * sizeof(*places));
    if (places == NULL) {
        return false;
    }
    for (size_t i = 0; i < seen->room; i++) {
        if (seen->places[i].hash != 0) {
            *find(places, room, seen->places[i].hash) = seen->places[i];
        }
    }
    belay__sim_seen_fini(seen);
    seen->places = places;
    seen->room = room;
    return true;
}

uint64_t
belay__sim_see(struct belay__sim_seen *seen, uint64_t hash)
{
    const bool room = make_room(seen);
    struct belay__sim_place *place;

    hash += hash == 0;
    if (seen->room == 0) {
        return 0;
    }
    place = find(seen->places, seen->room, hash);
    if (place->hash == 0) {
        if (!room) {
            return 0;
        }
        place->hash = hash;
        seen->count++;
    }
    return place->count++;
}

void
belay__sim_seen_fini(struct belay__sim_seen *seen)
{
    belay__free(seen->memory, seen->places, seen->room * sizeof(*seen->places));
    seen->places = NULL;
    seen->room = 0;
}
