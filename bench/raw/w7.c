/* w7.c - streamed chat calls, by hand on libuv, libcurl and cJSON; see lanes.h.
 *
 * Events end with a blank line, lines with LF; what of one is still to come is
 * kept. Each chunk is parsed. That is all that a stream needs as long as the
 * server is a friend: no other line ends, no errors, no limits.
 */
#include "bench/raw/lanes.h"

static int
read_chunk(const char *text, size_t len)
{
    cJSON *chunk = cJSON_ParseWithLength(text, len);
    const cJSON *item;

    if (chunk == NULL) {
        return -1;
    }
    run.chunks++;
    item = cJSON_GetObjectItemCaseSensitive(chunk, "choices");
    item = cJSON_GetArrayItem(item, 0);
    item = cJSON_GetObjectItemCaseSensitive(item, "delta");
    item = cJSON_GetObjectItemCaseSensitive(item, "content");
    if (cJSON_IsString(item)) {
        run.content += strlen(item->valuestring);
    }
    item = cJSON_GetObjectItemCaseSensitive(chunk, "usage");
    item = cJSON_GetObjectItemCaseSensitive(item, "total_tokens");
    if (cJSON_IsNumber(item)) {
        run.tokens += (uint64_t)item->valuedouble;
    }
    cJSON_Delete(chunk);
    return 0;
}

/* One line, without its end. */
static void
read_line(const char *line, size_t len)
{
    if (len < 6 || memcmp(line, "data: ", 6) != 0
        || (len == 12 && memcmp(line, "data: [DONE]", 12) == 0)) {
        return;
    }
    if (read_chunk(line + 6, len - 6) < 0) {
        run.bad++;
    }
}

static size_t
on_body(char *data, size_t one, size_t len, void *arg)
{
    struct lane *lane = arg;
    const char *at = data;
    const char *end = data + len;
    const char *stop;

    (void)one;
    while ((stop = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        if (lane->len > 0) {
            lane_keep(lane, at, (size_t)(stop - at));
            read_line(lane->bytes, lane->len);
            lane->len = 0;
        } else {
            read_line(at, (size_t)(stop - at));
        }
        at = stop + 1;
    }
    lane_keep(lane, at, (size_t)(end - at));
    return len;
}

static int
lane_ended(struct lane *lane)
{
    return lane->len == 0 ? 0 : -1;
}

int
main(int argc, char **argv)
{
    run.stream = 1;
    return run_lanes(argc, argv);
}
