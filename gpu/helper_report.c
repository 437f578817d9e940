/* helper_report.c - the report of belay-gpu-probe, read.
 *
 * It comes from our own program, but out of a process in which a vendor's
 * library may have done anything: everything is checked.
 */
#include "gpu/helper.h"

#include <string.h>

enum { FIELDS = 9 };

struct line {
    struct belay_slice fields[FIELDS];
    int count;
};

static bool
is(struct belay_slice field, const char *text)
{
    return field.len == strlen(text)
           && memcmp(field.data, text, field.len) == 0;
}

/* The next whole line; false if there is none, or it has too many fields. */
static bool
read_line(struct belay_slice *rest, struct line *ret)
{
    const char *end =
        rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    const char *at = rest->data;

    ret->count = 0;
    while (end != NULL && ret->count < FIELDS) {
        const char *tab = memchr(at, '\t', (size_t)(end - at));
        const char *stop = tab != NULL ? tab : end;

        ret->fields[ret->count++] =
            (struct belay_slice){at, (size_t)(stop - at)};
        if (tab == NULL) {
            rest->len -= (size_t)(end + 1 - rest->data);
            rest->data = end + 1;
            return true;
        }
        at = tab + 1;
    }
    return false;
}

static bool
read_u64(struct belay_slice field, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < field.len; i++) {
        if (field.data[i] < '0' || field.data[i] > '9'
            || __builtin_mul_overflow(value, 10, &value)
            || __builtin_add_overflow(
                value, (uint64_t)(field.data[i] - '0'), &value)) {
            return false;
        }
    }
    *ret = value;
    return field.len > 0;
}

static bool
read_u32(struct belay_slice field, uint32_t *ret)
{
    uint64_t value;

    if (!read_u64(field, &value) || value > UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

/* Codes are negative, but 0. */
static bool
read_code(struct belay_slice field, int *ret)
{
    uint32_t value;
    bool negative = field.len > 0 && field.data[0] == '-';

    if (negative) {
        field.data++;
        field.len--;
    }
    if (!read_u32(field, &value) || value > 100000 || negative != (value > 0)) {
        return false;
    }
    *ret = -(int)value;
    return true;
}

static bool
read_text(struct belay_slice field, char *ret, size_t size)
{
    if (field.len >= size || memchr(field.data, '\0', field.len) != NULL) {
        return false;
    }
    memcpy(ret, field.data, field.len);
    ret[field.len] = '\0';
    return true;
}

static bool
read_device(const struct line *line, struct belay__gpu_devinfo *ret)
{
    const struct belay_slice *field = line->fields;

    memset(ret, 0, sizeof(*ret));
    return line->count == FIELDS && read_u32(field[1], &ret->ordinal)
           && read_u64(field[2], &ret->bytes)
           && read_u64(field[3], &ret->free_bytes)
           && read_u64(field[4], &ret->headroom_bytes)
           && read_u32(field[5], &ret->units) && read_u32(field[6], &ret->slots)
           && read_text(field[7], ret->uid, sizeof(ret->uid))
           && read_text(field[8], ret->name, sizeof(ret->name));
}

/* -1 or more. */
static bool
read_gauge(struct belay_slice field, int64_t most, int64_t *ret)
{
    uint64_t value;

    if (is(field, "-1")) {
        *ret = -1;
        return true;
    }
    if (!read_u64(field, &value) || value > (uint64_t)most) {
        return false;
    }
    *ret = (int64_t)value;
    return true;
}

/* Of the device in the line before. */
static bool
read_gauges(const struct line *line, struct belay__gpu_devinfo *ret)
{
    const struct belay_slice *field = line->fields;
    int64_t values[4];

    if (line->count != 5 || !read_gauge(field[1], INT64_MAX, &values[0])) {
        return false;
    }
    for (int i = 1; i < 4; i++) {
        if (!read_gauge(field[i + 1], INT32_MAX, &values[i])) {
            return false;
        }
    }
    ret->gauged = true;
    ret->gauges = (struct belay_gpu_gauges){.used_bytes = values[0],
        .busy_percent = (int32_t)values[1],
        .celsius = (int32_t)values[2],
        .milliwatts = (int32_t)values[3]};
    return true;
}

int
belay__gpu_helper_read(const char *report, size_t len,
    struct belay__gpu_devinfo *ret, uint32_t room, char why[BELAY__GPU_NOTE])
{
    struct belay_slice rest = {report, len};
    struct belay__gpu_devinfo info;
    struct line line;
    int count = 0;
    int code;

    if (!read_line(&rest, &line) || line.count != 2
        || !is(line.fields[0], "belay-gpu-probe")
        || !is(line.fields[1], belay_version())) {
        return BELAY_EPROTO;
    }
    while (read_line(&rest, &line)) {
        if (is(line.fields[0], "end")) {
            if (rest.len > 0 || line.count != 3
                || !read_code(line.fields[1], &code)
                || (code < 0
                    && !read_text(line.fields[2], why, BELAY__GPU_NOTE))) {
                return BELAY_EPROTO;
            }
            return code < 0 ? code : count;
        }
        if (is(line.fields[0], "gauges")) {
            if (count == 0 || !read_gauges(&line, &info)) {
                return BELAY_EPROTO;
            }
            count--; /* the same device, once more */
        } else if (!is(line.fields[0], "device") || !read_device(&line, &info)
                   || count == BELAY_GPU_DEVICES_MAX) {
            return BELAY_EPROTO;
        }
        if ((uint32_t)count < room) {
            ret[count] = info;
        }
        count++;
    }
    return BELAY_EPROTO;
}
