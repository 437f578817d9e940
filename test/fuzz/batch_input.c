/* batch_input.c - any bytes as the input file of a batch.
 *
 * The first byte says how the rest is cut into pieces; whatever the cut, the
 * same lines must come out, and every line gives a request or a fault.
 */
#include "llm/batch/lines.h"
#include "llm/batch/request.h"
#include "llm/json/scan.h"
#include "test/fuzz/insist.h"

#define LINE_MAX_HERE 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
note(struct belay__buffer *seen, const void *data, size_t len)
{
    insist(belay__buffer_append(seen, data, len) == 0, "out of memory");
}

static void
read_line(const struct belay__line *line, struct belay__memory *memory)
{
    static const struct belay__batch_rules rules;
    struct belay__buffer scratch;
    struct belay__buffer body;
    struct belay__batch_request request;

    belay__buffer_init(&scratch, memory, SIZE_MAX);
    belay__buffer_init(&body, memory, SIZE_MAX);
    insist(belay__batch_read(line, &rules, &scratch, &request) == 0,
        "out of memory");
    insist((request.fault == BELAY__BATCH_NONE) == (request.message[0] == 0),
        "a fault without a message");
    if (request.fault == BELAY__BATCH_NONE) {
        insist(belay__batch_write_body(
                   &body, request.body, (struct belay_slice){"m", 1})
                   == 0,
            "a body that cannot be written");
        insist(belay__json_check(belay__buffer_slice(&body), NULL, NULL) == 0,
            "a body that is not valid");
    }
    belay__buffer_fini(&scratch);
    belay__buffer_fini(&body);
}

static void
pull(struct belay__lines *lines, struct belay__buffer *seen)
{
    struct belay__line line;
    int code;

    while ((code = belay__lines_next(lines, &line)) > 0) {
        insist(line.text.len <= LINE_MAX_HERE, "a line beyond the maximum");
        note(seen, &line.number, sizeof(line.number));
        note(seen, &line.offset, sizeof(line.offset));
        note(seen, &line.too_long, sizeof(line.too_long));
        note(seen, line.text.data, line.text.len);
        read_line(&line, seen->memory);
    }
    insist(code == 0, "out of memory");
}

static void
read_file(
    struct belay__buffer *seen, const uint8_t *data, size_t size, size_t piece)
{
    struct belay__lines lines;

    belay__lines_init(&lines, seen->memory, LINE_MAX_HERE);
    while (size > 0) {
        size_t len = piece < size ? piece : size;

        belay__lines_push(&lines, (const char *)data, len);
        pull(&lines, seen);
        data += len;
        size -= len;
    }
    belay__lines_end(&lines);
    pull(&lines, seen);
    belay__lines_fini(&lines);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer whole;
    struct belay__buffer cut;

    insist(memory != NULL, "out of memory");
    if (size > 0) {
        belay__buffer_init(&whole, memory, SIZE_MAX);
        belay__buffer_init(&cut, memory, SIZE_MAX);
        read_file(&whole, data + 1, size - 1, SIZE_MAX);
        read_file(&cut, data + 1, size - 1, data[0] % 64 + 1u);
        insist(
            whole.len == cut.len
                && (cut.len == 0 || memcmp(whole.data, cut.data, cut.len) == 0),
            "the cut makes a difference");
        belay__buffer_fini(&whole);
        belay__buffer_fini(&cut);
    }
    insist(memory->live_blocks == 0, "memory is left");
    belay__memory_unref(memory);
    return 0;
}
