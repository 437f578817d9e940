/* session_file.c - any bytes as a saved session.
 *
 * The first byte says how broken histories are mended. What is refused must
 * have changed nothing; what is taken must be complete, and give the same
 * bytes each time it is written, read and written again.
 */
#include "llm/session/text.h"
#include "test/fuzz/insist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *
write_text(const belay_llm_session *session, struct belay_slice *ret)
{
    char *text = NULL;

    insist(belay_llm_session_write(session, &text, &ret->len) == 0,
        "it cannot be written");
    ret->data = text;
    return text;
}

static bool
equal(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* Once more through the text, which is complete now. */
static void
round_trip(belay_llm_session *session, enum belay_llm_repair repair)
{
    struct belay_llm_loaded loaded;
    struct belay_slice first;
    struct belay_slice second;
    char *first_text = write_text(session, &first);
    char *second_text;

    insist(belay_llm_session_read(session, first, repair, &loaded, NULL) == 0,
        "what was written is refused");
    insist(loaded.results_made + loaded.left_out == 0,
        "what was mended is mended again");
    second_text = write_text(session, &second);
    insist(equal(first, second), "it is not the same the second time");
    belay_llm_text_free(first_text);
    belay_llm_text_free(second_text);
}

static void
read_any(belay_llm_session *session, struct belay_slice text,
    enum belay_llm_repair repair)
{
    struct belay_llm_session_problem problem = {0, NULL};
    struct belay_slice before;
    struct belay_slice after;
    char *before_text = write_text(session, &before);
    char *after_text;
    int code = belay_llm_session_read(session, text, repair, NULL, &problem);

    if (code == 0) {
        insist(
            belay__history_open_calls(session->history) == 0, "a call is open");
        round_trip(session, repair);
    } else {
        after_text = write_text(session, &after);
        insist(equal(before, after), "a refusal has changed something");
        insist(code == BELAY_ETOOLARGE || problem.reason != NULL,
            "a refusal has no reason");
        insist(problem.offset <= text.len, "a place behind the end");
        belay_llm_text_free(after_text);
    }
    belay_llm_text_free(before_text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    belay_llm_session *session;

    insist(memory != NULL, "out of memory");
    if (size > 0) {
        insist(belay__session_new(memory,
                   BELAY_LLM_SESSION_OPTS(.model = "m",
                       .max_bytes = (size_t)1 << 20),
                   NULL, &session)
                   == 0,
            "out of memory");
        read_any(session,
            (struct belay_slice){(const char *)data + 1, size - 1},
            (enum belay_llm_repair)(data[0] % 2));
        belay_llm_session_unref(session);
    }
    insist(memory->live_blocks == 0, "memory is left");
    belay__memory_unref(memory);
    return 0;
}
