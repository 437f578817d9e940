/* answer_dump.h - what was read of an answer, as text that can be compared. */
#ifndef BELAY_TEST_SUPPORT_ANSWER_DUMP_H
#define BELAY_TEST_SUPPORT_ANSWER_DUMP_H

#include "llm/provider/provider.h"

/* Each choice as
 *     0 T'text' R'refusal' Y'reasoning' C(id name arguments) E3'word'
 * with the parts that there are; then U in/read/out and the error, if any:
 *     X529'overloaded_error''text'
 * and '#' with a code. To be freed.
 */
char *answer_dump(struct belay__answer *answer);

/* One more event, as in the dump, appended to *text, which is reallocated. */
void event_dump(char **text, const struct belay_llm_event *event);

/* A whole answer, or the events of a stream (server's bytes, framed), read by
 * a provider; *ret_events, if not NULL, receives what was told of them. To be
 * freed, both.
 */
char *dump_whole(struct belay__memory *memory,
    const struct belay__provider *provider, struct belay_slice body);
char *dump_stream(struct belay__memory *memory,
    const struct belay__provider *provider, struct belay_slice stream,
    char **ret_events);

#endif
