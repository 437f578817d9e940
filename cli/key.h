/* key.h - keys out of the environment (private). */
#ifndef BELAY_CLI_KEY_H
#define BELAY_CLI_KEY_H

#include <stdbool.h>

/* Takes the key out of the variable `name`: nobody finds it in the process's
 * environment any more, and the process leaves no core behind. NULL if there
 * is none or it is empty. Lives until the program ends.
 */
const char *belay__key_take(const char *name);

/* Is there "--api-key SECRET", which getopt_long() would take for short of
 * --api-key-env? Then it was said, without the secret; word: the command's.
 */
bool belay__key_on_line(const char *word, int argc, char **argv);

#endif
