/* test_buffer.c - bytes that grow at the end, up to a stated maximum. */
#include "runtime/buffer.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

TestSuite(buffer, .init = open_memory, .fini = close_memory, .timeout = 5);

Test(buffer, init_allocates_nothing_and_fini_takes_anything)
{
    struct belay__buffer buffer;
    struct belay__buffer zeroed = {0};

    belay__buffer_init(&buffer, memory, 100);
    cr_expect(zero(sz, memory->live_blocks));
    belay__buffer_fini(&buffer);
    belay__buffer_fini(&buffer);
    belay__buffer_fini(&zeroed);
    belay__buffer_fini(NULL);
}

Test(buffer, bytes_are_kept_while_it_grows_to_its_maximum)
{
    struct belay__buffer buffer;

    belay__buffer_init(&buffer, memory, 1000);
    for (size_t i = 0; i < 1000; i++) {
        char byte = (char)i;

        cr_assert(zero(int, belay__buffer_append(&buffer, &byte, 1)));
    }
    cr_expect(eq(sz, buffer.len, 1000));
    cr_expect(eq(sz, buffer.room, 1000));
    for (size_t i = 0; i < 1000; i++) {
        cr_assert(eq(int, buffer.data[i], (char)i));
    }
    cr_expect(eq(int, belay__buffer_append(&buffer, "x", 1), BELAY_ETOOLARGE));
    cr_expect(zero(int, belay__buffer_append(&buffer, NULL, 0)));
    cr_expect(eq(sz, buffer.len, 1000));
    belay__buffer_fini(&buffer);
}

Test(buffer, room_of_any_size_is_refused_or_given)
{
    struct belay__buffer buffer;

    belay__buffer_init(&buffer, memory, SIZE_MAX);
    cr_assert(zero(int, belay__buffer_append(&buffer, "ab", 2)));
    cr_expect(
        eq(int, belay__buffer_reserve(&buffer, SIZE_MAX - 1), BELAY_ETOOLARGE));
    cr_expect(
        eq(int, belay__buffer_reserve(&buffer, SIZE_MAX - 2), BELAY_ENOMEM));
    cr_expect(zero(int, belay__buffer_reserve(&buffer, 5000)));
    cr_expect(eq(sz, buffer.room, 5002));
    cr_expect(zero(memcmp(buffer.data, "ab", 2)));
    belay__buffer_fini(&buffer);
    belay__buffer_init(&buffer, memory, 3);
    cr_expect(zero(int, belay__buffer_append(&buffer, "abc", 3)));
    cr_expect(eq(int, belay__buffer_reserve(&buffer, 1), BELAY_ETOOLARGE));
    belay__buffer_fini(&buffer);
}

Test(buffer, failed_reserve_changes_nothing)
{
    struct belay__buffer buffer;
    struct belay__buffer before;

    belay__buffer_init(&buffer, memory, 1000);
    cr_assert(zero(int, belay__buffer_append(&buffer, "abc", 3)));
    before = buffer;
    test_alloc_fail_at(0);
    cr_expect(eq(int, belay__buffer_reserve(&buffer, 500), BELAY_ENOMEM));
    cr_expect(zero(memcmp(&before, &buffer, sizeof(buffer))));
    cr_expect(zero(int, belay__buffer_reserve(&buffer, 500)));
    belay__buffer_fini(&buffer);
}

Test(buffer, a_text_of_any_length_is_formatted_whole_or_not_at_all)
{
    struct belay__buffer buffer;
    char long_text[2000];

    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    belay__buffer_init(&buffer, memory, 2010);
    cr_expect(zero(int, belay__buffer_format(&buffer, "%d ", 12)));
    cr_expect(zero(int, belay__buffer_format(&buffer, "%s", long_text)));
    cr_expect(eq(sz, buffer.len, 3 + 1999));
    cr_expect(zero(memcmp(buffer.data, "12 ", 3)));
    cr_expect(zero(memcmp(buffer.data + 3, long_text, 1999)));
    cr_expect(zero(int, belay__buffer_format(&buffer, "1234567")));
    cr_expect(eq(int, belay__buffer_format(&buffer, "1"), BELAY_ETOOLARGE));
    cr_expect(eq(sz, buffer.len, 2009));
    belay__buffer_fini(&buffer);
    test_alloc_fail_at(0);
    cr_expect(eq(int, belay__buffer_format(&buffer, "a"), BELAY_ENOMEM));
    cr_expect(zero(sz, buffer.len));
    belay__buffer_fini(&buffer);
}

Test(buffer, taken_bytes_belong_to_the_caller)
{
    struct belay__buffer buffer;
    char *data;
    size_t size;

    belay__buffer_init(&buffer, memory, 1000);
    cr_assert(zero(int, belay__buffer_append(&buffer, "abc", 3)));
    belay__buffer_take(&buffer, &data, &size);
    cr_expect(zero(memcmp(data, "abc", 3)));
    cr_expect(zero(sz, buffer.len));
    cr_expect(zero(sz, buffer.room));
    belay__buffer_fini(&buffer);
    belay__free(memory, data, size);
    belay__buffer_take(&buffer, &data, &size);
    cr_expect(eq(ptr, data, NULL));
    cr_expect(zero(sz, size));
}
