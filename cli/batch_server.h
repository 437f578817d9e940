/* batch_server.h - the server that `belay batch` is to ask (private). */
#ifndef BELAY_CLI_BATCH_SERVER_H
#define BELAY_CLI_BATCH_SERVER_H

#include "cli/batch_options.h"

/* Can it be asked at all, as far as that is known without asking? If not it was
 * said why. Warns of a key that is missing.
 */
bool belay__batch_check_server(const struct belay__batch_options *options);

#endif
