/* answer_read.c - what there is of an answer that is being put together. */
#include "llm/provider/answer.h"

#include <string.h>

struct belay__choice *
belay__answer_nth(struct belay__answer *answer, size_t n)
{
    return n < answer->by_index.count ? &answer->choices[answer->by_index.at[n]]
                                      : NULL;
}

struct belay_slice
belay__stretch_slice(
    const struct belay__choice *choice, enum belay__stretch_kind kind)
{
    return belay__llm_text_slice(choice->stretches[kind].text);
}

bool
belay__llm_end_cuts(enum belay_llm_end end)
{
    return end == BELAY_LLM_END_LENGTH || end == BELAY_LLM_END_CONTEXT_FULL
           || end == BELAY_LLM_END_FILTER || end == BELAY_LLM_END_REFUSAL;
}

bool
belay__answer_ended(const struct belay__answer *answer, size_t choices)
{
    for (size_t i = 0; i < answer->choice_count; i++) {
        if (!answer->choices[i].ended) {
            return false;
        }
    }
    return answer->choice_count > 0 && answer->choice_count >= choices;
}

void
belay__answer_get_usage(
    const struct belay__answer *answer, struct belay_llm_usage *ret)
{
    belay__usage_settle(&answer->counts, ret);
    ret->raw = answer->usage.span;
}

static struct belay_slice
part_of(const struct belay__llm_text *text, const struct belay__delta *delta)
{
    return (struct belay_slice){text->data + delta->at, delta->len};
}

bool
belay__answer_take(struct belay__answer *answer, struct belay_llm_event *ret)
{
    const size_t at = answer->deltas_taken * sizeof(struct belay__delta);
    const struct belay__choice *choice;
    const struct belay__tool *tool;
    struct belay__delta delta;

    if (at == answer->deltas.len) {
        return false;
    }
    memcpy(&delta, answer->deltas.data + at, sizeof(delta));
    answer->deltas_taken++;
    choice = &answer->choices[delta.choice];
    *ret = (struct belay_llm_event){
        .type = delta.type, .choice = choice->index, .tool = delta.tool};
    switch (delta.type) {
    case BELAY_LLM_EVENT_TEXT:
        ret->text = part_of(choice->stretches[BELAY__TEXT].text, &delta);
        break;
    case BELAY_LLM_EVENT_REFUSAL:
        ret->text = part_of(choice->stretches[BELAY__REFUSAL].text, &delta);
        break;
    case BELAY_LLM_EVENT_REASONING:
        ret->text = part_of(choice->stretches[BELAY__REASONING].text, &delta);
        break;
    case BELAY_LLM_EVENT_TOOL:
    case BELAY_LLM_EVENT_ARGUMENTS:
        tool = &choice->tools[delta.tool];
        ret->id = belay__llm_text_slice(tool->id);
        ret->name = belay__llm_text_slice(tool->name);
        if (delta.type == BELAY_LLM_EVENT_ARGUMENTS) {
            ret->text = part_of(tool->arguments.text, &delta);
        }
        break;
    case BELAY_LLM_EVENT_END:
        ret->end = choice->end;
        ret->text =
            (struct belay_slice){choice->end_word.text, choice->end_word.len};
        break;
    case BELAY_LLM_EVENT_RESTART:
    case BELAY_LLM_EVENT_DONE:
        break;
    }
    return true;
}
