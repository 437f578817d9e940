/* sim_options.h - the command line of `belay sim` (private). */
#ifndef BELAY_CLI_SIM_OPTIONS_H
#define BELAY_CLI_SIM_OPTIONS_H

#include "llm/sim/sim.h"

struct belay__sim_options {
    struct belay__sim_opts opts; /* texts are argv's and the environment's */
    bool quiet;
};

enum belay__sim_parsed {
    BELAY__SIM_PARSED_RUN,
    BELAY__SIM_PARSED_HELP,   /* it was shown: exit 0 */
    BELAY__SIM_PARSED_USAGE,  /* what is wrong was said: exit 2 */
    BELAY__SIM_PARSED_FAILED, /* the help could not be shown: exit 1 */
};

/* Reads the command line; ret is given to fini in each case. */
enum belay__sim_parsed belay__sim_options_parse(
    struct belay__sim_options *ret, int argc, char **argv);
void belay__sim_options_fini(struct belay__sim_options *options);

#endif
