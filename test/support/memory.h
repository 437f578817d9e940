/* memory.h - what a suite of parts of the library allocates from.
 *
 *     TestSuite(buffer, .init = open_memory, .fini = close_memory);
 */
#ifndef BELAY_TEST_SUPPORT_MEMORY_H
#define BELAY_TEST_SUPPORT_MEMORY_H

#include "runtime/memory.h"
#include "test/support/alloc.h"

/* On test_allocator, from open_memory() until close_memory(), behind which
 * nothing may be left: check_clean().
 */
extern struct belay__memory *memory;

void open_memory(void);
void close_memory(void);

#endif
