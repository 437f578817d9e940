/* answer_expect.h - what an answer is to be read as, in the words of
 * answer_dump.h; for suites with open_memory() and close_memory().
 */
#ifndef BELAY_TEST_SUPPORT_ANSWER_EXPECT_H
#define BELAY_TEST_SUPPORT_ANSWER_EXPECT_H

#include "test/support/answer_dump.h"

void expect_answer(const struct belay__provider *provider, const char *body,
    const char *expected);
/* `events` NULL: whatever they are. */
void expect_streamed(const struct belay__provider *provider, const char *stream,
    const char *expected, const char *events);

#endif
