/* w5.c - chat calls, by hand on libuv, libcurl and cJSON; see lanes.h.
 *
 * With a fourth argument the request is prepared and the answer only counted,
 * which leaves libcurl and libuv.
 */
#include "bench/raw/lanes.h"

static int
read_answer(const char *text, size_t len)
{
    cJSON *answer = cJSON_ParseWithLength(text, len);
    const cJSON *item;

    if (answer == NULL) {
        return -1;
    }
    item = cJSON_GetObjectItemCaseSensitive(answer, "choices");
    item = cJSON_GetArrayItem(item, 0);
    item = cJSON_GetObjectItemCaseSensitive(item, "message");
    item = cJSON_GetObjectItemCaseSensitive(item, "content");
    if (cJSON_IsString(item)) {
        run.content += strlen(item->valuestring);
    }
    item = cJSON_GetObjectItemCaseSensitive(answer, "usage");
    item = cJSON_GetObjectItemCaseSensitive(item, "total_tokens");
    if (cJSON_IsNumber(item)) {
        run.tokens += (uint64_t)item->valuedouble;
    }
    cJSON_Delete(answer);
    return 0;
}

static size_t
on_body(char *data, size_t one, size_t len, void *arg)
{
    (void)one;
    lane_keep(arg, data, len);
    return len;
}

static int
lane_ended(struct lane *lane)
{
    return read_answer(lane->bytes, lane->len);
}

int
main(int argc, char **argv)
{
    return run_lanes(argc, argv);
}
