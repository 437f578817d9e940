/* faults.c - the names of faults, and the forms of Retry-After. */
#include "llm/sim/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    const char *text;
    int status;
} faults[BELAY__SIM_FAULTS] = {
#define ROW(name, word, status, text) {word, text, status},
    BELAY__SIM_FAULT_MAP(ROW)
#undef ROW
};

const char *
belay__sim_fault_name(enum belay__sim_fault fault)
{
    return faults[fault].name;
}

const char *
belay__sim_fault_text(enum belay__sim_fault fault)
{
    return faults[fault].text;
}

int
belay__sim_fault_status(enum belay__sim_fault fault)
{
    return faults[fault].status;
}

bool
belay__sim_fault_find(struct belay_slice name, enum belay__sim_fault *ret)
{
    for (int i = 0; i < BELAY__SIM_FAULTS; i++) {
        if (strlen(faults[i].name) == name.len && name.len > 0
            && memcmp(faults[i].name, name.data, name.len) == 0) {
            *ret = (enum belay__sim_fault)i;
            return true;
        }
    }
    return false;
}

static bool
is_gap(char c)
{
    return c == ',' || c == ' ';
}

/* The next name in the list; of length 0 at its end. */
static struct belay_slice
next_name(struct belay_slice *names)
{
    struct belay_slice name;

    while (names->len > 0 && is_gap(*names->data)) {
        names->data++;
        names->len--;
    }
    name = (struct belay_slice){names->data, 0};
    while (names->len > 0 && !is_gap(*names->data)) {
        names->data++;
        names->len--;
        name.len++;
    }
    return name;
}

bool
belay__sim_faults_parse(struct belay_slice names, belay__sim_faults *ret)
{
    belay__sim_faults set = 0;
    enum belay__sim_fault fault;
    struct belay_slice name;

    while ((name = next_name(&names)).len > 0) {
        if (!belay__sim_fault_find(name, &fault)) {
            return false;
        }
        set |= belay__sim_fault_bit(fault);
    }
    *ret = set;
    return true;
}

/* "=0.5", or nothing for 1. */
static bool
take_chance(struct belay_slice text, double *ret)
{
    char copy[32];
    char *end;

    *ret = 1;
    if (text.len == 0) {
        return true;
    }
    if (text.len < 2 || text.len > sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.data + 1, text.len - 1);
    copy[text.len - 1] = '\0';
    *ret = strtod(copy, &end);
    return *end == '\0' && *ret >= 0 && *ret <= 1;
}

bool
belay__sim_chances_parse(const char *text, double chances[BELAY__SIM_FAULTS])
{
    struct belay_slice list = {text, strlen(text)};
    enum belay__sim_fault fault;
    struct belay_slice item;
    const char *equals;
    size_t len;
    bool any = false;

    while ((item = next_name(&list)).len > 0) {
        equals = memchr(item.data, '=', item.len);
        len = equals != NULL ? (size_t)(equals - item.data) : item.len;
        if (!belay__sim_fault_find((struct belay_slice){item.data, len}, &fault)
            || !take_chance(
                (struct belay_slice){item.data + len, item.len - len},
                &chances[fault])) {
            return false;
        }
        any = true;
    }
    return any;
}

/* ---- Retry-After ---- */

static const char *const forms[BELAY__SIM_RETRY_FORMS] = {"seconds", "ms",
    "date", "rfc850", "asctime", "past", "zero", "negative", "garbage",
    "mixed"};

const char *
belay__sim_retry_form_name(enum belay__sim_retry_form form)
{
    return forms[form];
}

bool
belay__sim_retry_form_find(const char *name, enum belay__sim_retry_form *ret)
{
    for (int i = 0; i < BELAY__SIM_RETRY_FORMS; i++) {
        if (strcmp(name, forms[i]) == 0) {
            *ret = (enum belay__sim_retry_form)i;
            return true;
        }
    }
    return false;
}

/* Not by strftime(), which speaks the host's language. */
static void
write_date(enum belay__sim_retry_form form, int64_t unix_s, char *ret)
{
    static const char *const days[] = {"Sunday", "Monday", "Tuesday",
        "Wednesday", "Thursday", "Friday", "Saturday"};
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const time_t when = (time_t)unix_s;
    const char *month;
    struct tm tm;

    (void)gmtime_r(&when, &tm);
    month = months + 3 * (size_t)tm.tm_mon;
    if (form == BELAY__SIM_RETRY_RFC850) {
        (void)snprintf(ret, BELAY__SIM_RETRY_BYTES,
            "%s, %02d-%.3s-%02d %02d:%02d:%02d GMT", days[tm.tm_wday],
            tm.tm_mday, month, tm.tm_year % 100, tm.tm_hour, tm.tm_min,
            tm.tm_sec);
    } else if (form == BELAY__SIM_RETRY_ASCTIME) {
        (void)snprintf(ret, BELAY__SIM_RETRY_BYTES,
            "%.3s %.3s %2d %02d:%02d:%02d %d", days[tm.tm_wday], month,
            tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_year + 1900);
    } else {
        (void)snprintf(ret, BELAY__SIM_RETRY_BYTES,
            "%.3s, %02d %.3s %d %02d:%02d:%02d GMT", days[tm.tm_wday],
            tm.tm_mday, month, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
            tm.tm_sec);
    }
}

const char *
belay__sim_retry_write(enum belay__sim_retry_form form, belay_duration wait,
    int64_t unix_s, char ret[BELAY__SIM_RETRY_BYTES])
{
    const char *text = NULL;

    switch (form) {
    case BELAY__SIM_RETRY_MS:
        (void)snprintf(
            ret, BELAY__SIM_RETRY_BYTES, "%.12g", (double)wait.ns / 1e6);
        return "retry-after-ms";
    case BELAY__SIM_RETRY_DATE:
    case BELAY__SIM_RETRY_RFC850:
    case BELAY__SIM_RETRY_ASCTIME:
        write_date(form, unix_s + wait.ns / 1000000000, ret);
        return "retry-after";
    case BELAY__SIM_RETRY_PAST:
        write_date(form, unix_s - 3600, ret);
        return "retry-after";
    case BELAY__SIM_RETRY_ZERO:
        text = "0";
        break;
    case BELAY__SIM_RETRY_NEGATIVE:
        text = "-5";
        break;
    case BELAY__SIM_RETRY_GARBAGE:
        text = "soon";
        break;
    case BELAY__SIM_RETRY_SECONDS:
    case BELAY__SIM_RETRY_MIXED:
        (void)snprintf(
            ret, BELAY__SIM_RETRY_BYTES, "%.12g", (double)wait.ns / 1e9);
        return "retry-after";
    }
    (void)snprintf(ret, BELAY__SIM_RETRY_BYTES, "%s", text);
    return "retry-after";
}
