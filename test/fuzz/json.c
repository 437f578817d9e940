/* json.c - any bytes through the scanner, the decoder and the writer.
 *
 * The scanner must agree with a plain validator and, where the text is
 * valid, with cJSON; what the writer makes must be valid, and read back as
 * what went in.
 */
#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "llm/json/write.h"
#include "test/fuzz/insist.h"
#include "test/support/json_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_valid(struct belay_slice text)
{
    return belay__json_check(text, NULL, NULL) == 0;
}

/* As a string and back; the second time nothing is replaced any more. */
static void
round_trip(struct belay_slice text, struct belay__memory *memory)
{
    struct belay__buffer written;
    struct belay__buffer decoded;
    struct belay__buffer again;
    struct belay__json_writer writer;

    belay__buffer_init(&written, memory, SIZE_MAX);
    belay__buffer_init(&decoded, memory, SIZE_MAX);
    belay__buffer_init(&again, memory, SIZE_MAX);
    belay__json_begin(&writer, &written);
    belay__json_string(&writer, text);
    insist(belay__json_end(&writer) == 0, "out of memory");
    insist(is_valid(belay__buffer_slice(&written)), "written, but not valid");
    insist(belay__json_append_decoded(&decoded, belay__buffer_slice(&written))
               == 0,
        "out of memory");
    belay__json_begin(&writer, &again);
    belay__json_string(&writer, belay__buffer_slice(&decoded));
    insist(belay__json_end(&writer) == 0, "out of memory");
    insist(written.len == again.len
               && memcmp(written.data, again.data, again.len) == 0,
        "read back as something else");
    belay__buffer_fini(&written);
    belay__buffer_fini(&decoded);
    belay__buffer_fini(&again);
}

static void
one_line(struct belay_slice text, struct belay__memory *memory)
{
    struct belay__buffer line;
    struct belay__json_writer writer;

    belay__buffer_init(&line, memory, SIZE_MAX);
    belay__json_begin(&writer, &line);
    belay__json_raw_line(&writer, text);
    insist(belay__json_end(&writer) == 0, "out of memory");
    insist(is_valid(belay__buffer_slice(&line)), "valid only on many lines");
    insist(memchr(line.data, '\n', line.len) == NULL
               && memchr(line.data, '\r', line.len) == NULL,
        "not one line");
    belay__buffer_fini(&line);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct belay_slice text = {(const char *)data, size};
    struct belay__memory *memory = belay__memory_new(NULL);
    const char *verdict = json_oracle_compare(text);

    insist(memory != NULL, "out of memory");
    insist(verdict == NULL, verdict);
    round_trip(text, memory);
    if (is_valid(text)) {
        one_line(text, memory);
    }
    belay__memory_unref(memory);
    return 0;
}
