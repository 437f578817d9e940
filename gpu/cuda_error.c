/* cuda_error.c - what the codes of the CUDA driver mean to the pool. */
#include "gpu/cuda.h"

#include <stdio.h>

void
belay__cuda_note(
    const struct belay__cuda *cuda, char *note, const char *what, CUresult code)
{
    const char *name = NULL;
    const char *text = NULL;

    /* A library that is broken enough may not even know its own codes. */
    if (cuda->call.cuGetErrorName(code, &name) != CUDA_SUCCESS
        || name == NULL) {
        name = "unknown code";
    }
    if (cuda->call.cuGetErrorString(code, &text) != CUDA_SUCCESS
        || text == NULL) {
        text = "no text for it";
    }
    (void)snprintf(
        note, BELAY__GPU_NOTE, "%s: %s (%u): %s", what, name, code, text);
}

const char *
belay__cuda_absence(CUresult code)
{
    switch (code) {
    case CUDA_ERROR_STUB_LIBRARY:
        return "a stub to link with, not a driver";
    case CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER:
        return "the driver is too old";
    case CUDA_ERROR_NO_DEVICE:
        return "no device";
    case CUDA_ERROR_SYSTEM_NOT_READY:
        return "the system's fabric manager is not ready";
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
        return "library and kernel module are of different versions";
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
        return "the compatibility library does not work on this device";
    default:
        return NULL;
    }
}

int
belay__cuda_class(CUresult code)
{
    switch (code) {
    case CUDA_ERROR_INVALID_VALUE:
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
    case CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE:
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_NOT_FOUND:
        return BELAY_GPU_EOP;
    case CUDA_ERROR_OUT_OF_MEMORY:
        return BELAY_GPU_ENOMEM;
    /* The header says of most of these that the process must be started
     * anew. 721 and 911 are of the same kind; 999 is what is left when the
     * driver does not know itself.
     */
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_MPS_CONNECTION_FAILED:
    case CUDA_ERROR_MPS_RPC_FAILURE:
    case CUDA_ERROR_MPS_SERVER_NOT_READY:
    case CUDA_ERROR_MPS_MAX_CLIENTS_REACHED:
    case CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_UNKNOWN:
        return BELAY_GPU_ELOST;
    default:
        return 0;
    }
}
