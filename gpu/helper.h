/* helper.h - looking for devices in a process of its own (private).
 *
 * A vendor's library can end the process that only looks what there is, or
 * hang in it (G45). So "auto" and lists of devices let a small program look,
 * belay-gpu-probe, and read what it reports. It is installed in libexecdir
 * with the library, so that it is there without the command `belay` too; the
 * environment variable BELAY_GPU_PROBE names another one.
 *
 * The report is lines of fields with tabs between them:
 *
 *     belay-gpu-probe  0.1.0
 *     device  ordinal  bytes  free  headroom  units  slots  uid  name
 *     gauges  used  busy  celsius  milliwatts
 *     end     code     why
 *
 * Without its last line it says nothing: the program has died of it.
 */
#ifndef BELAY_GPU_HELPER_H
#define BELAY_GPU_HELPER_H

#include "gpu/backend.h"

enum {
    BELAY__GPU_HELPER_FD = 3, /* where the program writes */
    /* For a driver that starts slowly: without its daemon, a machine with
     * eight GPUs takes most of it.
     */
    BELAY__GPU_HELPER_MS = 20000,
    BELAY__GPU_HELPER_MAX = 65536, /* bytes of a report */
};

/* Lets the program load a driver and enumerate its devices: their number, and
 * the first `room` of them; or a code, and `why`, as the driver tells them, or
 * BELAY_ENOSYS because the program has died, hung, or is not there. Waits up
 * to timeout_ms; not for the loop's thread.
 */
int belay__gpu_helper_ask(const char *kind, const char *settings,
    int timeout_ms, struct belay__gpu_devinfo *ret, uint32_t room,
    char why[BELAY__GPU_NOTE]);

/* Reads a report; BELAY_EPROTO, and nothing in `why`, if it is none. */
int belay__gpu_helper_read(const char *report, size_t len,
    struct belay__gpu_devinfo *ret, uint32_t room, char why[BELAY__GPU_NOTE]);

#endif
