/* trial_server.c - sweeps of programs that ask a fault server. */
#include "test/support/trial_server.h"

#include "test/support/sweeps.h"

/* Of the sweep that is on. */
static char *trial_url;
static size_t trial_url_size;
static struct fault_server **trial_server;

/* It lives as long as the trial. */
static void
start_own(void)
{
    struct fault_server *own = fault_server_again(trial_url, trial_url_size);

    if (own != NULL && trial_server != NULL) {
        *trial_server = own;
    }
}

void
sweep_with_server(const struct program *program, char *url, size_t size,
    struct fault_server **server)
{
    trial_url = url;
    trial_url_size = size;
    trial_server = server;
    program_before_trial = url != NULL ? start_own : NULL;
    sweeps_try(program);
    program_before_trial = NULL;
}
