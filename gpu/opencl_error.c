/* opencl_error.c - what the codes of OpenCL mean to the pool. */
#include "gpu/opencl.h"

#include <stdio.h>

static const char *
name_of(cl_int code)
{
    static const struct {
        cl_int code;
        const char *name;
    } names[] = {
#define NAME(name, value) {value, #name},
        BELAY__OPENCL_CODES(NAME)
#undef NAME
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].code == code) {
            return names[i].name;
        }
    }
    return "unknown code";
}

void
belay__opencl_note(char *note, const char *what, cl_int code)
{
    (void)snprintf(
        note, BELAY__GPU_NOTE, "%s: %s (%d)", what, name_of(code), code);
}

int
belay__opencl_class(cl_int code)
{
    switch (code) {
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_INVALID_DEVICE:
    case CL_INVALID_CONTEXT:
    case CL_INVALID_COMMAND_QUEUE:
        return BELAY_GPU_ELOST;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_HOST_MEMORY:
    case CL_INVALID_BUFFER_SIZE:
        return BELAY_GPU_ENOMEM;
    default:
        return BELAY_GPU_EOP;
    }
}

int
belay__opencl_failed(struct belay__gpu_op *op, const char *what, cl_int code)
{
    op->native = code;
    belay__opencl_note(op->note, what, code);
    return belay__opencl_class(code);
}
