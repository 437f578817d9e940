/* test_cmd_sim.c - `belay sim` in a process of its own. */
#include "cli/commands.h"
#include "test/support/raw_client.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(cmd_sim, .timeout = 60);

#define ARGUMENTS_MAX 16

struct process {
    pid_t id;
    FILE *out;
    char all[16384]; /* what it has written, errors too, at its end */
};

static void
start(struct process *process, const char *const *arguments)
{
    char *argv[ARGUMENTS_MAX];
    int ends[2];
    int argc = 0;

    cr_assert(eq(int, pipe(ends), 0));
    (void)fflush(NULL);
    process->id = fork();
    cr_assert(process->id >= 0);
    if (process->id == 0) {
        argv[argc++] = strdup("sim");
        while (*arguments != NULL && argc < ARGUMENTS_MAX - 1) {
            argv[argc++] = strdup(*arguments++);
        }
        argv[argc] = NULL;
        optind = 0;
        (void)alarm(50); /* never outlives the test */
        (void)signal(SIGPIPE, SIG_IGN);
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        argc = belay__cmd_sim(argc, argv);
        (void)fflush(NULL);
        _exit(argc);
    }
    (void)close(ends[1]);
    process->out = fdopen(ends[0], "r");
    cr_assert(process->out != NULL);
}

/* Its exit code, once it has ended. */
static int
finish(struct process *process)
{
    int status;
    size_t len = fread(process->all, 1, sizeof(process->all) - 1, process->out);

    process->all[len] = '\0';
    (void)fclose(process->out);
    cr_assert(eq(int, waitpid(process->id, &status, 0), (int)process->id));
    cr_assert(eq(int, WIFEXITED(status), 1));
    return WEXITSTATUS(status);
}

static uint16_t
read_port(struct process *process, const char *url)
{
    char line[128];
    uint16_t port = 0;
    char end = '\0';

    cr_assert(fgets(line, sizeof(line), process->out) != NULL);
    cr_assert(strncmp(line, "listening on ", 13) == 0);
    cr_assert(strncmp(line + 13, url, strlen(url)) == 0);
    cr_assert(eq(int,
        sscanf(line + 13 + strlen(url), ":%" SCNu16 "/v1%c", &port, &end), 2));
    cr_assert(eq(chr, end, '\n'));
    return port;
}

/* Asks once; returns the status, or 0. */
static int
ask(uint16_t port)
{
    static const char body[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}";
    struct raw_reply reply;
    char request[256];
    int status;
    int fd = raw_connect(port);

    (void)snprintf(request, sizeof(request),
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        "Authorization: Bearer k-12345\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);
    cr_assert(raw_send_text(fd, request));
    raw_read_reply(fd, &reply);
    status = reply.status;
    raw_reply_fini(&reply);
    raw_close(fd);
    return status;
}

static void
interrupt(int number, int code)
{
    const char *const arguments[] = {"--log", NULL};
    struct process process;

    start(&process, arguments);
    cr_assert(eq(int, ask(read_port(&process, "http://127.0.0.1")), 200));
    cr_assert(eq(int, kill(process.id, number), 0));
    cr_assert(eq(int, finish(&process), code));
    cr_assert(strstr(process.all, "200 answered ") == process.all);
    cr_assert(strstr(process.all, "belay sim: 1 requests, ") != NULL);
}

Test(cmd_sim, ends_with_130_and_143_when_interrupted)
{
    interrupt(SIGINT, 130);
    interrupt(SIGTERM, 143);
}

Test(cmd_sim, ends_after_max_requests)
{
    const char *const arguments[] = {"--max-requests", "2", "--quiet", NULL};
    struct process process;
    uint16_t port;

    start(&process, arguments);
    port = read_port(&process, "http://127.0.0.1");
    cr_assert(eq(int, ask(port), 200));
    cr_assert(eq(int, ask(port), 200));
    cr_assert(eq(int, finish(&process), 0));
    cr_assert(eq(str, process.all, (char[]){""}));
}

Test(cmd_sim, takes_every_option)
{
    const char *const refuse[] = {"--fail-429=1", "--retry-after=2s",
        "--host=localhost", "--port=0", "--seed=18446744073709551615",
        "--tokens=1-5", "--latency=10", "--spread=lognormal", "--ttft=1.5ms",
        "--tokens-per-second=0.5", "--fail-5xx=0.5", "--cut=0", "--stall=1",
        "--capacity=3", NULL};
    struct process process;
    uint16_t port;

    start(&process, refuse);
    port = read_port(&process, "http://localhost");
    cr_assert(eq(int, ask(port), 429));
    cr_assert(eq(int, kill(process.id, SIGTERM), 0));
    cr_assert(eq(int, finish(&process), 143));
}

Test(cmd_sim, takes_its_key_from_the_environment)
{
    const char *const arguments[] = {
        "--api-key-env", "BELAY_TEST_KEY", "--log", NULL};
    struct process process;

    cr_assert(eq(int, unsetenv("BELAY_TEST_KEY"), 0));
    start(&process, arguments);
    cr_assert(eq(int, finish(&process), 2));
    cr_assert(strstr(process.all, "BELAY_TEST_KEY") != NULL);

    cr_assert(eq(int, setenv("BELAY_TEST_KEY", "k-12345", 1), 0));
    start(&process, arguments);
    cr_assert(eq(int, ask(read_port(&process, "http://127.0.0.1")), 200));
    cr_assert(eq(int, kill(process.id, SIGINT), 0));
    cr_assert(eq(int, finish(&process), 130));
    cr_assert(strstr(process.all, "k-12345") == NULL);

    cr_assert(eq(int, setenv("BELAY_TEST_KEY", "k-1234", 1), 0));
    start(&process, arguments);
    cr_assert(eq(int, ask(read_port(&process, "http://127.0.0.1")), 401));
    cr_assert(eq(int, kill(process.id, SIGINT), 0));
    cr_assert(eq(int, finish(&process), 130));
    cr_assert(strstr(process.all, "k-1234") == NULL);
}

Test(cmd_sim, refuses_what_makes_no_sense)
{
    static const char *const wrong[] = {"--frobnicate", "extra", "--port=65536",
        "--port=-1", "--port=x", "--seed=1.5", "--tokens=0", "--tokens=5-3",
        "--tokens=-3", "--tokens=3-", "--latency=", "--latency=1.5",
        "--latency=x", "--spread=normal", "--fail-429=1.1", "--fail-5xx=-0.1",
        "--cut=nan", "--stall=x", "--stall=0.5x", "--capacity=0",
        "--max-requests=0", "--tokens-per-second=0"};
    struct process process;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *const arguments[] = {wrong[i], NULL};

        start(&process, arguments);
        cr_expect(eq(int, finish(&process), 2), "%s", wrong[i]);
        cr_expect(gt(sz, strlen(process.all), 0), "%s", wrong[i]);
    }
}

Test(cmd_sim, says_where_it_cannot_listen)
{
    const char *const nowhere[] = {"--host", "192.0.2.1", NULL};
    const char *const help[] = {"--help", NULL};
    struct process process;

    start(&process, nowhere);
    cr_assert(eq(int, finish(&process), 1));
    cr_assert(strstr(process.all, "cannot listen on 192.0.2.1") != NULL);
    start(&process, help);
    cr_assert(eq(int, finish(&process), 0));
    cr_assert(strstr(process.all, "--tokens-per-second") != NULL);
}
