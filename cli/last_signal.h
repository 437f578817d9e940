/* last_signal.h - the second SIGINT or SIGTERM ends the process, whatever its
 * loop is at (private). Rule: B29.
 */
#ifndef BELAY_CLI_LAST_SIGNAL_H
#define BELAY_CLI_LAST_SIGNAL_H

/* From now on these signals come to a thread of their own, which hands them on
 * to the handlers there are, and counts. A second after the second one the
 * process is gone, with the code of the first, if it has not ended by itself:
 * the loop may be held up by a pipe that nobody reads, or by a long journal. To
 * be called before other threads are made, once. Without memory for a thread
 * nothing changes.
 */
void belay__last_signal_watch(void);

#endif
