/* fan.h - a fan of calls to a model: N of them, CONC at a time, one task each.
 *
 * What w5, w7 and session share: the texts, the client, the tasks, the result.
 * Such a program says what one call is and hands over to fan_main(). BENCH_CA
 * names a file with who may sign for a server that speaks TLS, BENCH_RECORD one
 * into which all is recorded.
 */
#ifndef BELAY_BENCH_FAN_H
#define BELAY_BENCH_FAN_H

#include <belay/belay.h>
#include <belay/session.h>

#include "bench/bench.h"

struct fan {
    const char *name;           /* of the program */
    const belay_function *call; /* one call; its frame is a struct call */
    /* An enter token for what the calls share beside the client, or NULL. */
    belay_next (*open)(belay_task *task, struct fan *fan);
    long requests; /* if no arguments say otherwise */
    long at_once;
    /* for calls */
    belay_llm_client *client;
    belay_llm_session *session; /* for open */
    char system_text[512];
    char user_text[1024];
    uint64_t tokens;
    uint64_t content; /* bytes of text that came */
    uint64_t bad;
    /* fan.c's own */
    const char *url;
    struct belay_semaphore free;
};

/* The frame of a call, so that a program writes BELAY_ASYNC_SIZED(call, …). */
struct call {
    struct fan *fan;
    long number;
    belay_llm_reply *reply; /* out, if it succeeds */
    struct belay_llm_message messages[2];
    char text[1100];
};

/* Write what the user asks in this call; the messages, the same as two. */
void call_write_text(struct call *call);
void call_write_messages(struct call *call);

/* The last thing a call does: counts its tokens, or that it has failed. */
void call_ended(struct call *call, int code);

/* Runs it and prints the result; gives the exit code. */
int fan_main(int argc, char **argv, struct fan *fan);

#endif
