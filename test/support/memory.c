/* memory.c - what a suite of parts of the library allocates from. */
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

struct belay__memory *memory;

void
open_memory(void)
{
    memory = belay__memory_new(&test_allocator);
    cr_assert(memory != NULL);
}

void
close_memory(void)
{
    belay__memory_unref(memory);
    check_clean();
}
