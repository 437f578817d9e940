/* control.h - the real OpenCL library, with failures told by a script.
 *
 * A library that stands in front of libOpenCL.so.1: what it does not define
 * itself is found in the real one behind it. Words of the script:
 *
 *     clFinish:2:-5     the second call from now answers so, and does nothing
 *     event:1:-5        the first kernel from now fails on its way, with this
 *                       status, as a device reports it: by its event
 *     held:1:1          who asks for the holders of a queue next hears of one
 *                       more; to release one before they have asked aborts
 */
#ifndef FAKE_OPENCL_CONTROL_H
#define FAKE_OPENCL_CONTROL_H

void fake_opencl_script(const char *words);

typedef void fake_opencl_script_fn(const char *words);

#endif
