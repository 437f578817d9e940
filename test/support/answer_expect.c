/* answer_expect.c - what an answer is to be read as. */
#include "test/support/answer_expect.h"

#include "test/support/memory.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

void
expect_answer(const struct belay__provider *provider, const char *body,
    const char *expected)
{
    char *text = dump_whole(memory, provider, slice(body));

    cr_expect(eq(str, text, (char *)(uintptr_t)expected), "%s", body);
    free(text);
}

void
expect_streamed(const struct belay__provider *provider, const char *stream,
    const char *expected, const char *events)
{
    char *told = NULL;
    char *text = dump_stream(memory, provider, slice(stream), &told);

    cr_expect(eq(str, text, (char *)(uintptr_t)expected), "%s", stream);
    if (events != NULL) {
        cr_assert(ne(ptr, told, NULL));
        cr_expect(eq(str, told, (char *)(uintptr_t)events), "%s", stream);
    }
    free(text);
    free(told);
}
