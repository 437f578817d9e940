/* text.h - what sessions are as JSON (private to llm/session/). */
#ifndef BELAY_LLM_SESSION_TEXT_H
#define BELAY_LLM_SESSION_TEXT_H

#include <belay/session_file.h>

#include "llm/session/session.h"
#include "runtime/buffer.h"

#define BELAY__SESSION_VERSION 1

/* A text is never longer than this: an escape makes six bytes of one. */
static inline size_t
belay__session_text_max(const belay_llm_session *session)
{
    const size_t head = (size_t)1 << 20;

    return session->max_bytes < (SIZE_MAX - head) / 6
               ? session->max_bytes * 6 + head
               : SIZE_MAX;
}

/* Appends the text. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE. */
int belay__session_write(
    const belay_llm_session *session, struct belay__buffer *buffer);

#endif
