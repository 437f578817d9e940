/* batch_look.h - `belay batch` that sends nothing (private). */
#ifndef BELAY_CLI_BATCH_LOOK_H
#define BELAY_CLI_BATCH_LOOK_H

#include "cli/batch_options.h"
#include "llm/batch/hosted.h"

/* --status and --dry-run: print to standard output, give the exit code. */
int belay__batch_show_status(const struct belay__batch_options *options);
int belay__batch_show_dry_run(struct belay__batch_options *options);

/* Prints to standard error what was found, a warning a line. */
void belay__batch_say_hosted(const struct belay__hosted *hosted);

#endif
