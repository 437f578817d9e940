/* batch_options.h - the command line of `belay batch` (private). */
#ifndef BELAY_CLI_BATCH_OPTIONS_H
#define BELAY_CLI_BATCH_OPTIONS_H

#include "llm/batch/batch.h"
#include "llm/sim/sim.h"

enum belay__progress {
    BELAY__PROGRESS_AUTO,
    BELAY__PROGRESS_BAR,   /* one line, drawn over */
    BELAY__PROGRESS_LINES, /* a line every ten seconds */
    BELAY__PROGRESS_JSON,
    BELAY__PROGRESS_NONE,
};

struct belay__batch_options {
    struct belay__batch_opts batch; /* texts are argv's and the environment's */
    struct belay__sim_opts sim_opts;
    enum belay__progress progress;
    bool sim;
    bool quiet;
    bool errors_inline;
    bool in_order;
    size_t window;
    const char *key_env;
    const char *key_path; /* or NULL */
    const char *prices_path;
    const char *budget;      /* as given, in argv; or NULL */
    const char *report_path; /* of the page, or NULL */
    bool check_hosted;
    bool dry_run;
    bool status;
    char **argv; /* as given, in the order that getopt has put them; NULL for
                    what only one run shall do: begin anew, or retry; and for
                    a server in whose place another was given */
    int argc;
    char *errors_path; /* ours to free */
};

enum belay__batch_parsed {
    BELAY__BATCH_PARSED_RUN,
    BELAY__BATCH_PARSED_HELP,  /* it was shown: exit 0 */
    BELAY__BATCH_PARSED_USAGE, /* what is wrong was said: exit 2 */
};

/* Reads the command line; ret is given to fini in each case. */
enum belay__batch_parsed belay__batch_options_parse(
    struct belay__batch_options *ret, int argc, char **argv);
/* The rest of it, once every option is set. False: what is wrong was said. */
bool belay__batch_options_finish(struct belay__batch_options *ret);
void belay__batch_options_fini(struct belay__batch_options *options);

/* Does the value, one of getopt's, lie in this word of argv? */
bool belay__ends_with_value(const char *word, const char *value);

#endif
