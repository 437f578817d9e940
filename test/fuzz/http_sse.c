/* http_sse.c - any bytes as a stream of events, whole and cut.
 *
 * However the bytes are cut, the events are those of the definition. The
 * first byte says how to cut, the second how long an event may be.
 */
#include "test/fuzz/insist.h"
#include "test/support/sse_oracle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct sse_account expected;
    struct sse_account got;
    size_t max;

    insist(memory != NULL, "out of memory");
    if (size > 2) {
        const char *stream = (const char *)data + 2;

        size -= 2;
        max = (size_t)data[1] * 2 + 1;
        expected = sse_oracle(stream, size, max);
        for (size_t cut = 0; cut < 3; cut++) {
            const size_t piece = cut == 0   ? size
                                 : cut == 1 ? 1
                                            : data[0] % 64 + 2u;

            got = sse_parse(memory, stream, size, max, piece, 0);
            insist(sse_same(&expected, &got), "the events are others");
            free(got.text);
        }
        free(expected.text);
    }
    insist(memory->live_blocks == 0, "memory is left");
    belay__memory_unref(memory);
    return 0;
}
