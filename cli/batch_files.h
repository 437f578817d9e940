/* batch_files.h - the files that `belay batch` leaves besides its results
 * (private).
 *
 * They are written when a run has ended, and none of them is worth what was
 * paid for: a path that leads to a file of the job is refused before the run.
 */
#ifndef BELAY_CLI_BATCH_FILES_H
#define BELAY_CLI_BATCH_FILES_H

#include "cli/batch_options.h"
#include "runtime/buffer.h"

/* OUTPUT.stats.json. False: nobody asks for it, as with standard output. */
bool belay__batch_stats_path(
    const struct belay__batch_options *options, char *ret, size_t size);

/* Can they be written, and over nothing else? If not it was said why, and
 * nothing has changed.
 */
bool belay__batch_check_files(const struct belay__batch_options *options);

/* Puts a file of mode 0600 at path, whole, in the place of what was there; what
 * is a device is written to. What cannot be written is told, and leaves what
 * was there.
 */
void belay__batch_write_file(
    const char *path, const struct belay__buffer *buffer);

#endif
