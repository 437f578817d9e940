/* key.h - keys out of the environment (private). */
#ifndef BELAY_CLI_KEY_H
#define BELAY_CLI_KEY_H

/* Takes the key out of the variable `name`: nobody finds it in the process's
 * environment any more, and the process leaves no core behind. NULL if there
 * is none or it is empty. Lives until the program ends.
 */
const char *belay__key_take(const char *name);

#endif
