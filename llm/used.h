/* used.h - what an attempt has used, as its reply tells it (private to llm/).
 *
 * For calls and for the lines of batches alike.
 */
#ifndef BELAY_LLM_USED_H
#define BELAY_LLM_USED_H

#include <belay/llm.h>

/* Input and output together. What is not told counts as none, and a sum that
 * no number holds as the largest: no cap lets it pass (L54).
 */
int64_t belay__used_tokens(const struct belay_llm_usage *usage);

#endif
