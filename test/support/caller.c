/* caller.c - a plain program that calls a model and is run by a test. */
#include "test/support/caller.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum belay_llm_format
caller_format(const char *word)
{
    if (strcmp(word, "responses") == 0) {
        return BELAY_LLM_FORMAT_RESPONSES;
    }
    return strcmp(word, "messages") == 0 ? BELAY_LLM_FORMAT_MESSAGES
                                         : BELAY_LLM_FORMAT_CHAT;
}

int
caller_run(const belay_function *function, const void *arguments)
{
    struct belay_result result = {.code = 0};
    char text[1024];
    int code;

    (void)signal(SIGPIPE, SIG_IGN);
    code = belay_run(function, arguments, NULL, &result);
    if (code < 0) {
        (void)belay_result_format(&result, text, sizeof(text));
        (void)fprintf(stderr, "%s\n", text);
        belay_error_unref(result.error);
    }
    return code;
}
