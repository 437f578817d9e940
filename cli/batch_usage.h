/* batch_usage.h - what the command line of `belay batch` is (private). */
#ifndef BELAY_CLI_BATCH_USAGE_H
#define BELAY_CLI_BATCH_USAGE_H

#define DEFAULT_BASE_URL "https://api.openai.com/v1"
#define DEFAULT_KEY_ENV "OPENAI_API_KEY"

extern const char *const belay__batch_usage[]; /* NULL ends it */

#endif
