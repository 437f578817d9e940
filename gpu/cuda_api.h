/* cuda_api.h - the part of NVIDIA's driver interface that we use (private).
 *
 * Own declarations, so that nothing of NVIDIA's is needed to build Belay; the
 * library is found at run time (cuda_load.c). Everything is a table, so that
 * test/checks/cuda_header.c can hold each type, value, name and prototype
 * against NVIDIA's cuda.h where that is installed.
 *
 * Symbols are asked for by their exact, versioned names: those keep their
 * meaning for ever, while the bare name is the oldest version (cuMemAlloc
 * takes 32 bits).
 */
#ifndef BELAY_GPU_CUDA_API_H
#define BELAY_GPU_CUDA_API_H

#include <stddef.h>

/* X(name, type) */
#define BELAY__CUDA_TYPES(X)           \
    X(CUdevice, int)                   \
    X(CUdeviceptr, unsigned long long) \
    X(CUcontext, struct CUctx_st *)    \
    X(CUmodule, struct CUmod_st *)     \
    X(CUfunction, struct CUfunc_st *)  \
    X(CUstream, struct CUstream_st *)  \
    X(CUevent, struct CUevent_st *)

/* X(enumeration, name, value): what is named somewhere in our code. */
#define BELAY__CUDA_VALUES(X)                                               \
    X(CUresult, CUDA_SUCCESS, 0)                                            \
    X(CUresult, CUDA_ERROR_INVALID_VALUE, 1)                                \
    X(CUresult, CUDA_ERROR_OUT_OF_MEMORY, 2)                                \
    X(CUresult, CUDA_ERROR_NOT_INITIALIZED, 3)                              \
    X(CUresult, CUDA_ERROR_STUB_LIBRARY, 34)                                \
    X(CUresult, CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER, 36)                  \
    X(CUresult, CUDA_ERROR_DEVICE_UNAVAILABLE, 46)                          \
    X(CUresult, CUDA_ERROR_NO_DEVICE, 100)                                  \
    X(CUresult, CUDA_ERROR_INVALID_DEVICE, 101)                             \
    X(CUresult, CUDA_ERROR_INVALID_IMAGE, 200)                              \
    X(CUresult, CUDA_ERROR_INVALID_CONTEXT, 201)                            \
    X(CUresult, CUDA_ERROR_NO_BINARY_FOR_GPU, 209)                          \
    X(CUresult, CUDA_ERROR_ECC_UNCORRECTABLE, 214)                          \
    X(CUresult, CUDA_ERROR_INVALID_PTX, 218)                                \
    X(CUresult, CUDA_ERROR_NVLINK_UNCORRECTABLE, 220)                       \
    X(CUresult, CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222)                    \
    X(CUresult, CUDA_ERROR_CONTAINED, 226)                                  \
    X(CUresult, CUDA_ERROR_INVALID_HANDLE, 400)                             \
    X(CUresult, CUDA_ERROR_NOT_FOUND, 500)                                  \
    X(CUresult, CUDA_ERROR_NOT_READY, 600)                                  \
    X(CUresult, CUDA_ERROR_ILLEGAL_ADDRESS, 700)                            \
    X(CUresult, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701)                    \
    X(CUresult, CUDA_ERROR_LAUNCH_TIMEOUT, 702)                             \
    X(CUresult, CUDA_ERROR_ASSERT, 710)                                     \
    X(CUresult, CUDA_ERROR_HARDWARE_STACK_ERROR, 714)                       \
    X(CUresult, CUDA_ERROR_ILLEGAL_INSTRUCTION, 715)                        \
    X(CUresult, CUDA_ERROR_MISALIGNED_ADDRESS, 716)                         \
    X(CUresult, CUDA_ERROR_INVALID_ADDRESS_SPACE, 717)                      \
    X(CUresult, CUDA_ERROR_INVALID_PC, 718)                                 \
    X(CUresult, CUDA_ERROR_LAUNCH_FAILED, 719)                              \
    X(CUresult, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, 720)               \
    X(CUresult, CUDA_ERROR_TENSOR_MEMORY_LEAK, 721)                         \
    X(CUresult, CUDA_ERROR_NOT_PERMITTED, 800)                              \
    X(CUresult, CUDA_ERROR_NOT_SUPPORTED, 801)                              \
    X(CUresult, CUDA_ERROR_SYSTEM_NOT_READY, 802)                           \
    X(CUresult, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, 803)                     \
    X(CUresult, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, 804)             \
    X(CUresult, CUDA_ERROR_MPS_CONNECTION_FAILED, 805)                      \
    X(CUresult, CUDA_ERROR_MPS_RPC_FAILURE, 806)                            \
    X(CUresult, CUDA_ERROR_MPS_SERVER_NOT_READY, 807)                       \
    X(CUresult, CUDA_ERROR_MPS_MAX_CLIENTS_REACHED, 808)                    \
    X(CUresult, CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED, 809)                \
    X(CUresult, CUDA_ERROR_MPS_CLIENT_TERMINATED, 810)                      \
    X(CUresult, CUDA_ERROR_EXTERNAL_DEVICE, 911)                            \
    X(CUresult, CUDA_ERROR_UNKNOWN, 999)                                    \
    X(CUdevice_attribute, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1)     \
    X(CUdevice_attribute, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)     \
    X(CUdevice_attribute, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, 20)             \
    X(CUdevice_attribute, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75) \
    X(CUdevice_attribute, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76) \
    X(CUdevice_attribute, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 115)  \
    X(CUjit_option, CU_JIT_ERROR_LOG_BUFFER, 5)                             \
    X(CUjit_option, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, 6)                  \
    X(unsigned, CU_COMPUTEMODE_PROHIBITED, 2)                               \
    X(unsigned, CU_CTX_SCHED_BLOCKING_SYNC, 4)                              \
    X(unsigned, CU_STREAM_NON_BLOCKING, 1)                                  \
    X(unsigned, CU_EVENT_BLOCKING_SYNC, 1)                                  \
    X(unsigned, CU_EVENT_DISABLE_TIMING, 2)                                 \
    X(unsigned, CU_MEMHOSTALLOC_PORTABLE, 1)                                \
    X(unsigned, CU_MEMHOSTALLOC_DEVICEMAP, 2)

/* X(name, version, parameters): what the backend needs; without one of them
 * it does not load.
 */
#define BELAY__CUDA_API(X)                                                    \
    X(cuInit, , (unsigned flags))                                             \
    X(cuDriverGetVersion, , (int *ret_version))                               \
    X(cuGetErrorName, , (CUresult result, const char **ret_text))             \
    X(cuGetErrorString, , (CUresult result, const char **ret_text))           \
    X(cuDeviceGetCount, , (int *ret_count))                                   \
    X(cuDeviceGet, , (CUdevice * ret_device, int ordinal))                    \
    X(cuDeviceGetName, , (char *ret_name, int size, CUdevice device))         \
    X(cuDeviceGetAttribute, ,                                                 \
        (int *ret_value, CUdevice_attribute attribute, CUdevice device))      \
    X(cuDeviceGetUuid, _v2, (CUuuid * ret_uuid, CUdevice device))             \
    X(cuDeviceTotalMem, _v2, (size_t * ret_bytes, CUdevice device))           \
    X(cuDevicePrimaryCtxRetain, , (CUcontext * ret_context, CUdevice device)) \
    X(cuDevicePrimaryCtxRelease, _v2, (CUdevice device))                      \
    X(cuCtxSetCurrent, , (CUcontext context))                                 \
    X(cuCtxGetStreamPriorityRange, , (int *ret_least, int *ret_greatest))     \
    X(cuStreamCreateWithPriority, ,                                           \
        (CUstream * ret_stream, unsigned flags, int priority))                \
    X(cuStreamDestroy, _v2, (CUstream stream))                                \
    X(cuStreamQuery, , (CUstream stream))                                     \
    X(cuStreamSynchronize, , (CUstream stream))                               \
    X(cuEventCreate, , (CUevent * ret_event, unsigned flags))                 \
    X(cuEventRecord, , (CUevent event, CUstream stream))                      \
    X(cuEventQuery, , (CUevent event))                                        \
    X(cuEventSynchronize, , (CUevent event))                                  \
    X(cuEventDestroy, _v2, (CUevent event))                                   \
    X(cuMemAlloc, _v2, (CUdeviceptr * ret_at, size_t bytes))                  \
    X(cuMemFree, _v2, (CUdeviceptr at))                                       \
    X(cuMemAllocAsync, ,                                                      \
        (CUdeviceptr * ret_at, size_t bytes, CUstream stream))                \
    X(cuMemFreeAsync, , (CUdeviceptr at, CUstream stream))                    \
    X(cuMemHostAlloc, , (void **ret_at, size_t bytes, unsigned flags))        \
    X(cuMemFreeHost, , (void *at))                                            \
    X(cuMemHostGetDevicePointer, _v2,                                         \
        (CUdeviceptr * ret_at, void *host, unsigned flags))                   \
    X(cuMemGetInfo, _v2, (size_t * ret_free, size_t * ret_total))             \
    X(cuMemcpyHtoDAsync, _v2,                                                 \
        (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))    \
    X(cuMemcpyDtoHAsync, _v2,                                                 \
        (void *to, CUdeviceptr from, size_t bytes, CUstream stream))          \
    X(cuMemsetD8Async, ,                                                      \
        (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)) \
    X(cuModuleLoadDataEx, ,                                                   \
        (CUmodule * ret_module, const void *image, unsigned count,            \
            CUjit_option *options, void **values))                            \
    X(cuModuleGetFunction, ,                                                  \
        (CUfunction * ret_function, CUmodule module, const char *name))       \
    X(cuModuleUnload, , (CUmodule module))                                    \
    X(cuLaunchKernel, ,                                                       \
        (CUfunction function, unsigned grid_x, unsigned grid_y,               \
            unsigned grid_z, unsigned block_x, unsigned block_y,              \
            unsigned block_z, unsigned shared_bytes, CUstream stream,         \
            void **parameters, void **extra))

/* What the backend does without, and bench/gpu-checklist measures: resets, and
 * the two kinds of callback.
 */
#define BELAY__CUDA_API_MEASURED(X)                                        \
    X(cuDeviceGetPCIBusId, , (char *ret_id, int size, CUdevice device))    \
    X(cuDevicePrimaryCtxSetFlags, _v2, (CUdevice device, unsigned flags))  \
    X(cuDevicePrimaryCtxReset, _v2, (CUdevice device))                     \
    X(cuLaunchHostFunc, , (CUstream stream, CUhostFn function, void *arg)) \
    X(cuStreamAddCallback, ,                                               \
        (CUstream stream, CUstreamCallback function, void *arg,            \
            unsigned flags))

/* The check includes NVIDIA's header first, and takes the types from there. */
#ifndef CUDA_VERSION
typedef unsigned CUresult;
typedef unsigned CUdevice_attribute;
typedef unsigned CUjit_option;
#define BELAY__CUDA_TYPE(name, type) typedef type name;
BELAY__CUDA_TYPES(BELAY__CUDA_TYPE)
#undef BELAY__CUDA_TYPE
typedef struct CUuuid_st {
    char bytes[16];
} CUuuid;
typedef void (*CUhostFn)(void *arg);
typedef void (*CUstreamCallback)(CUstream stream, CUresult result, void *arg);

enum belay__cuda_value {
#define BELAY__CUDA_VALUE(enumeration, name, value) name = (value),
    BELAY__CUDA_VALUES(BELAY__CUDA_VALUE)
#undef BELAY__CUDA_VALUE
};
#endif

#endif
