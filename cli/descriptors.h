/* descriptors.h - how many files and sockets may be open (private). */
#ifndef BELAY_CLI_DESCRIPTORS_H
#define BELAY_CLI_DESCRIPTORS_H

#include <stdint.h>

/* Raises the limit of this process to `wanted`, or as near as the system lets
 * it; never lowers it. Gives how many descriptors there may be now.
 */
uint64_t belay__descriptors_raise(uint64_t wanted);

#endif
