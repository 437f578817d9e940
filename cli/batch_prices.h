/* batch_prices.h - the price file of `belay batch` (private). */
#ifndef BELAY_CLI_BATCH_PRICES_H
#define BELAY_CLI_BATCH_PRICES_H

#include <belay/price.h>

/* An enter operation: reads the file at path; the block holds the prices.
 * Errors: codes of the system and of belay_prices_new(), with a sentence that
 * names the file.
 */
belay_next belay__batch_prices_open(
    belay_task *task, const char *path, belay_prices **ret);

#endif
