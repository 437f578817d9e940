/* fault_apart.c - a fault server in a process of its own. */
#include "test/support/fault_server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int
fault_server_start_apart(
    const struct fault_route *routes, size_t count, char *url, size_t size)
{
    int ends[2];
    pid_t pid;
    ssize_t len;

    if (pipe(ends) != 0) {
        abort();
    }
    pid = fork();
    if (pid == 0) {
        const char *own = NULL;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGPIPE, SIG_IGN);
        own = fault_server_url(fault_server_start(routes, count));
        (void)!write(ends[1], own, strlen(own));
        (void)close(ends[1]);
        for (;;) {
            (void)pause();
        }
    }
    (void)close(ends[1]);
    len = pid > 0 ? read(ends[0], url, size - 1) : -1;
    (void)close(ends[0]);
    if (len <= 0) {
        abort();
    }
    url[len] = '\0';
    return (int)pid;
}

void
fault_server_stop_apart(int pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}
