/* sim_settings.c - the settings of simulated devices, from their text.
 *
 *   devices=4        how many                       slots=2      of each
 *   mem=80G          bytes of each                  context=300M of the first slot
 *   real=16M         larger buffers have no bytes   seed=7
 *   launch=5us       of each kernel                 rate=1e12    units a second
 *   contention=1     of slots on one device         bandwidth=25G bytes a second
 *   jit=50ms         a kernel's first build         stop=0       to a stopped end
 *   noise=uniform:0.2 | lognormal:0.5 | tail:0.01:20
 *   p_op= p_sticky= p_hang= p_slow=     chances of faults
 *   fault=KIND@DEVICE:N[:ARG]           a fault by script; may come often
 *   threads          a thread a slot, as real devices have
 */
#include "gpu/sim.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A part of the text, not ended by NUL. */
struct part {
    const char *data;
    size_t len;
};

static bool
part_is(struct part part, const char *text)
{
    return part.len == strlen(text) && memcmp(part.data, text, part.len) == 0;
}

/* Cuts `part` at the first `mark`; what comes behind it is given. */
static struct part
cut(struct part *part, char mark)
{
    const char *at = part->len > 0 ? memchr(part->data, mark, part->len) : NULL;
    struct part rest = {NULL, 0};

    if (at != NULL) {
        rest.data = at + 1;
        rest.len = part->len - (size_t)(at - part->data) - 1;
        part->len = (size_t)(at - part->data);
    }
    return rest;
}

/* A number that is not negative, with the unit behind it. */
static bool
parse_number(struct part part, double *ret, char unit[4])
{
    char text[64];
    char *end;

    if (part.len == 0 || part.len >= sizeof(text)
        || (!isdigit((unsigned char)part.data[0]) && part.data[0] != '.')) {
        return false;
    }
    memcpy(text, part.data, part.len);
    text[part.len] = '\0';
    *ret = strtod(text, &end);
    if (strlen(end) >= 4 || !(*ret >= 0 && *ret < 1e300)) {
        return false;
    }
    (void)snprintf(unit, 4, "%s", end);
    return true;
}

/* Without a unit, or K, M, G, T: of bytes by 1024. */
static bool
parse_amount(struct part part, double *ret)
{
    static const char units[] = "KMGT";
    const char *at;
    char unit[4];

    if (!parse_number(part, ret, unit)) {
        return false;
    }
    if (unit[0] == '\0') {
        return true;
    }
    at = strchr(units, unit[0]);
    if (at == NULL || unit[1] != '\0') {
        return false;
    }
    for (; at >= units; at--) {
        *ret *= 1024;
    }
    return true;
}

/* ns, us, ms, s; only 0 may be without one. */
static bool
parse_time(struct part part, double *ret)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    char unit[4];

    if (!parse_number(part, ret, unit)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].name) == 0) {
            *ret *= units[i].ns;
            return true;
        }
    }
    return unit[0] == '\0' && !(*ret > 0);
}

static bool
parse_plain(struct part part, double *ret)
{
    char unit[4];

    return parse_number(part, ret, unit) && unit[0] == '\0';
}

static bool
parse_whole(struct part part, double least, double most, uint64_t *ret)
{
    double number;

    if (!parse_plain(part, &number) || number < least || number > most
        || number > (double)(uint64_t)number
        || number < (double)(uint64_t)number) {
        return false;
    }
    *ret = (uint64_t)number;
    return true;
}

static bool
parse_noise(struct part part, struct belay__gpusim_settings *settings)
{
    struct part rest = cut(&part, ':');
    struct part last = cut(&rest, ':');

    settings->noise_b = 0;
    if (part_is(part, "none") && rest.data == NULL) {
        settings->noise = BELAY__GPUSIM_CONSTANT;
        return true;
    }
    if (!parse_plain(rest, &settings->noise_a)) {
        return false;
    }
    if (part_is(part, "uniform")) {
        settings->noise = BELAY__GPUSIM_UNIFORM;
        return settings->noise_a <= 1 && last.data == NULL;
    }
    if (part_is(part, "lognormal")) {
        settings->noise = BELAY__GPUSIM_LOGNORMAL;
        return settings->noise_a <= 10 && last.data == NULL;
    }
    settings->noise = BELAY__GPUSIM_TAIL;
    return part_is(part, "tail") && settings->noise_a <= 1
           && parse_plain(last, &settings->noise_b);
}

static bool
parse_fault(struct part part, struct belay__gpusim_settings *settings)
{
    static const char *const names[] = {
        [BELAY__GPUSIM_FAULT_OP] = "op",
        [BELAY__GPUSIM_FAULT_STICKY] = "sticky",
        [BELAY__GPUSIM_FAULT_LOST] = "lost",
        [BELAY__GPUSIM_FAULT_HANG] = "hang",
        [BELAY__GPUSIM_FAULT_SLOW] = "slow",
        [BELAY__GPUSIM_FAULT_TWICE] = "twice",
        [BELAY__GPUSIM_FAULT_AT_ONCE] = "at_once",
        [BELAY__GPUSIM_FAULT_DEAF] = "deaf",
        [BELAY__GPUSIM_FAULT_ALLOC] = "alloc",
        [BELAY__GPUSIM_FAULT_RESET] = "reset",
        [BELAY__GPUSIM_FAULT_OPEN] = "open",
    };
    const uint32_t kinds = sizeof(names) / sizeof(names[0]);
    struct part device = cut(&part, '@');
    struct part n = cut(&device, ':');
    struct part arg = cut(&n, ':');
    struct belay__gpusim_fault *fault;
    uint64_t index;
    uint32_t kind = 0;

    while (kind < kinds && !part_is(part, names[kind])) {
        kind++;
    }
    if (kind == kinds || settings->fault_count == BELAY__GPUSIM_FAULTS_MAX) {
        return false;
    }
    fault = &settings->faults[settings->fault_count++];
    fault->kind = (enum belay__gpusim_fault_kind)kind;
    fault->arg = 0;
    if (!parse_whole(device, 0, BELAY_GPU_DEVICES_MAX - 1, &index)
        || !parse_whole(n, 1, 1e15, &fault->n)) {
        return false;
    }
    fault->device = (uint32_t)index;
    return arg.data == NULL || parse_time(arg, &fault->arg)
           || parse_plain(arg, &fault->arg);
}

/* A setting that is a number; where it goes and how it is read. */
struct numeric {
    const char *name;
    bool (*parse)(struct part part, double *ret);
    size_t offset; /* of a double in the settings */
    double most;
};

#define NUMERIC(name_, parse_, field_, most_)                               \
    {                                                                       \
        (name_), (parse_), offsetof(struct belay__gpusim_settings, field_), \
            (most_)                                                         \
    }

static const struct numeric numerics[] = {
    NUMERIC("launch", parse_time, launch_ns, 1e15),
    NUMERIC("rate", parse_plain, rate, 1e30),
    NUMERIC("contention", parse_plain, contention, 1e3),
    NUMERIC("bandwidth", parse_amount, bandwidth, 1e30),
    NUMERIC("jit", parse_time, jit_ns, 1e15),
    NUMERIC("stop", parse_time, stop_ns, 1e15),
    NUMERIC("p_op", parse_plain, op_chance, 1),
    NUMERIC("p_sticky", parse_plain, sticky_chance, 1),
    NUMERIC("p_hang", parse_plain, hang_chance, 1),
    NUMERIC("p_slow", parse_plain, slow_chance, 1),
};

static bool
parse_numeric(const struct numeric *numeric, struct part value,
    struct belay__gpusim_settings *settings)
{
    double number;

    if (!numeric->parse(value, &number) || number > numeric->most) {
        return false;
    }
    memcpy((char *)settings + numeric->offset, &number, sizeof(number));
    return true;
}

static bool
parse_bytes(struct part value, uint64_t *ret)
{
    double number;

    if (!parse_amount(value, &number) || number > 1e18) {
        return false;
    }
    *ret = (uint64_t)number;
    return true;
}

static bool
parse_count(struct part value, uint32_t most, uint32_t *ret)
{
    uint64_t number;

    if (!parse_whole(value, 1, most, &number)) {
        return false;
    }
    *ret = (uint32_t)number;
    return true;
}

static bool
parse_setting(struct part name, struct part value,
    struct belay__gpusim_settings *settings)
{
    if (part_is(name, "threads") && value.data == NULL) {
        settings->threads = true;
        return true;
    }
    if (part_is(name, "devices")) {
        return parse_count(value, BELAY_GPU_DEVICES_MAX, &settings->devices);
    }
    if (part_is(name, "slots")) {
        return parse_count(value, BELAY_GPU_SLOTS_MAX, &settings->slots);
    }
    if (part_is(name, "mem")) {
        return parse_bytes(value, &settings->bytes) && settings->bytes > 0;
    }
    if (part_is(name, "context")) {
        return parse_bytes(value, &settings->context_bytes);
    }
    if (part_is(name, "real")) {
        return parse_bytes(value, &settings->real_bytes);
    }
    if (part_is(name, "seed")) {
        return parse_whole(value, 0, 9e15, &settings->seed);
    }
    if (part_is(name, "noise")) {
        return parse_noise(value, settings);
    }
    if (part_is(name, "fault")) {
        return parse_fault(value, settings);
    }
    for (size_t i = 0; i < sizeof(numerics) / sizeof(numerics[0]); i++) {
        if (part_is(name, numerics[i].name)) {
            return parse_numeric(&numerics[i], value, settings);
        }
    }
    return false;
}

int
belay__gpusim_parse(const char *text, struct belay__gpusim_settings *ret,
    char why[BELAY__GPU_NOTE])
{
    struct part rest = {text, strlen(text)};
    struct part setting;
    struct part value;

    *ret = (struct belay__gpusim_settings){
        .devices = 1,
        .slots = 1,
        .bytes = UINT64_C(16) << 30,
        .real_bytes = UINT64_C(16) << 20,
        .launch_ns = 5e3,
        .rate = 1e12,
        .contention = 1,
        .bandwidth = 25e9,
    };
    while (rest.len > 0) {
        setting = rest;
        rest = cut(&setting, ',');
        value = cut(&setting, '=');
        if (!parse_setting(setting, value, ret)) {
            (void)snprintf(why, BELAY__GPU_NOTE,
                "setting \"%.*s\" is not known, or has no good value",
                (int)(setting.len < 40 ? setting.len : 40), setting.data);
            return BELAY_EINVAL;
        }
    }
    if (!(ret->rate > 0) || !(ret->bandwidth > 0)) {
        (void)snprintf(
            why, BELAY__GPU_NOTE, "rate and bandwidth are more than 0");
        return BELAY_EINVAL;
    }
    return 0;
}

bool
belay__gpusim_wants_threads(const char *settings)
{
    struct part rest = {settings, strlen(settings)};
    struct part setting;

    while (rest.len > 0) {
        setting = rest;
        rest = cut(&setting, ',');
        if (part_is(setting, "threads")) {
            return true;
        }
    }
    return false;
}

bool
belay__gpusim_wants_none(const char *settings)
{
    return !belay__gpusim_wants_threads(settings);
}
