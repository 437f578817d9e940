/* key.h - keys out of the environment, or a file (private). */
#ifndef BELAY_CLI_KEY_H
#define BELAY_CLI_KEY_H

#include <stdbool.h>

/* Takes the key out of the variable `name`: nobody finds it in the process's
 * environment any more, and the process leaves no core behind. NULL if there
 * is none or it is empty. Lives until the program ends.
 */
const char *belay__key_take(const char *name);

/* The same out of a file, which may be "/dev/fd/3": its first line. NULL: what
 * is wrong was said, in the name of the command `word`; so if others than its
 * owner may read the file.
 */
const char *belay__key_read(const char *word, const char *path);

/* Is there "--api-key SECRET", which getopt_long() would take for short of
 * --api-key-env? Then it was said, without the secret; word: the command's.
 */
bool belay__key_on_line(const char *word, int argc, char **argv);

#endif
