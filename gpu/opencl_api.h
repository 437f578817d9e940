/* opencl_api.h - the part of OpenCL 1.2 that we use (private).
 *
 * Own declarations, so that no header is needed to build Belay; the library
 * is found at run time. As tables, so that test/checks/opencl_header.c can
 * hold them against Khronos's CL/cl.h where that is installed. Callbacks are
 * not used (contract, decision 2): where one could be given, NULL is.
 */
#ifndef BELAY_GPU_OPENCL_API_H
#define BELAY_GPU_OPENCL_API_H

#include <stddef.h>
#include <stdint.h>

/* X(name, type) */
#define BELAY__OPENCL_TYPES(X)                      \
    X(cl_int, int32_t)                              \
    X(cl_uint, uint32_t)                            \
    X(cl_bool, uint32_t)                            \
    X(cl_ulong, uint64_t)                           \
    X(cl_device_type, uint64_t)                     \
    X(cl_mem_flags, uint64_t)                       \
    X(cl_command_queue_properties, uint64_t)        \
    X(cl_context_properties, intptr_t)              \
    X(cl_device_partition_property, intptr_t)       \
    X(cl_platform_info, uint32_t)                   \
    X(cl_device_info, uint32_t)                     \
    X(cl_program_build_info, uint32_t)              \
    X(cl_kernel_info, uint32_t)                     \
    X(cl_event_info, uint32_t)                      \
    X(cl_command_queue_info, uint32_t)              \
    X(cl_platform_id, struct _cl_platform_id *)     \
    X(cl_device_id, struct _cl_device_id *)         \
    X(cl_context, struct _cl_context *)             \
    X(cl_command_queue, struct _cl_command_queue *) \
    X(cl_mem, struct _cl_mem *)                     \
    X(cl_program, struct _cl_program *)             \
    X(cl_kernel, struct _cl_kernel *)               \
    X(cl_event, struct _cl_event *)

/* X(name, value): codes, then the rest. */
#define BELAY__OPENCL_CODES(X)                           \
    X(CL_SUCCESS, 0)                                     \
    X(CL_DEVICE_NOT_FOUND, -1)                           \
    X(CL_DEVICE_NOT_AVAILABLE, -2)                       \
    X(CL_COMPILER_NOT_AVAILABLE, -3)                     \
    X(CL_MEM_OBJECT_ALLOCATION_FAILURE, -4)              \
    X(CL_OUT_OF_RESOURCES, -5)                           \
    X(CL_OUT_OF_HOST_MEMORY, -6)                         \
    X(CL_BUILD_PROGRAM_FAILURE, -11)                     \
    X(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, -14) \
    X(CL_INVALID_VALUE, -30)                             \
    X(CL_INVALID_DEVICE, -33)                            \
    X(CL_INVALID_CONTEXT, -34)                           \
    X(CL_INVALID_COMMAND_QUEUE, -36)                     \
    X(CL_INVALID_MEM_OBJECT, -38)                        \
    X(CL_INVALID_PROGRAM_EXECUTABLE, -45)                \
    X(CL_INVALID_KERNEL_NAME, -46)                       \
    X(CL_INVALID_ARG_VALUE, -50)                         \
    X(CL_INVALID_ARG_SIZE, -51)                          \
    X(CL_INVALID_KERNEL_ARGS, -52)                       \
    X(CL_INVALID_WORK_GROUP_SIZE, -54)                   \
    X(CL_INVALID_WORK_ITEM_SIZE, -55)                    \
    X(CL_INVALID_EVENT, -58)                             \
    X(CL_INVALID_OPERATION, -59)                         \
    X(CL_INVALID_BUFFER_SIZE, -61)                       \
    X(CL_PLATFORM_NOT_FOUND_KHR, -1001)

#define BELAY__OPENCL_VALUES(X)             \
    X(CL_FALSE, 0)                          \
    X(CL_COMPLETE, 0)                       \
    X(CL_DEVICE_TYPE_CPU, 2)                \
    X(CL_DEVICE_TYPE_GPU, 4)                \
    X(CL_DEVICE_TYPE_ACCELERATOR, 8)        \
    X(CL_DEVICE_TYPE, 0x1000)               \
    X(CL_DEVICE_MAX_COMPUTE_UNITS, 0x1002)  \
    X(CL_DEVICE_GLOBAL_MEM_SIZE, 0x101F)    \
    X(CL_DEVICE_AVAILABLE, 0x1027)          \
    X(CL_DEVICE_COMPILER_AVAILABLE, 0x1028) \
    X(CL_DEVICE_NAME, 0x102B)               \
    X(CL_DEVICE_PARTITION_EQUALLY, 0x1086)  \
    X(CL_DEVICE_UUID_KHR, 0x106A)           \
    X(CL_PLATFORM_NAME, 0x0902)             \
    X(CL_CONTEXT_PLATFORM, 0x1084)          \
    X(CL_MEM_READ_WRITE, 1)                 \
    X(CL_MEM_USE_HOST_PTR, 8)               \
    X(CL_QUEUE_REFERENCE_COUNT, 0x1092)     \
    X(CL_PROGRAM_BUILD_LOG, 0x1183)         \
    X(CL_KERNEL_NUM_ARGS, 0x1191)           \
    X(CL_EVENT_COMMAND_EXECUTION_STATUS, 0x11D3)

/* X(name, result, parameters) */
#define BELAY__OPENCL_API(X)                                                   \
    X(clGetPlatformIDs, cl_int,                                                \
        (cl_uint room, cl_platform_id * ret, cl_uint * ret_count))             \
    X(clGetPlatformInfo, cl_int,                                               \
        (cl_platform_id platform, cl_platform_info what, size_t size,          \
            void *ret, size_t *ret_size))                                      \
    X(clGetDeviceIDs, cl_int,                                                  \
        (cl_platform_id platform, cl_device_type type, cl_uint room,           \
            cl_device_id * ret, cl_uint * ret_count))                          \
    X(clGetDeviceInfo, cl_int,                                                 \
        (cl_device_id device, cl_device_info what, size_t size, void *ret,     \
            size_t *ret_size))                                                 \
    X(clCreateSubDevices, cl_int,                                              \
        (cl_device_id device, const cl_device_partition_property *how,         \
            cl_uint room, cl_device_id *ret, cl_uint *ret_count))              \
    X(clReleaseDevice, cl_int, (cl_device_id device))                          \
    X(clCreateContext, cl_context,                                             \
        (const cl_context_properties *properties, cl_uint count,               \
            const cl_device_id *devices,                                       \
            void (*notify)(const char *, const void *, size_t, void *),        \
            void *arg, cl_int *ret_code))                                      \
    X(clReleaseContext, cl_int, (cl_context context))                          \
    X(clCreateCommandQueue, cl_command_queue,                                  \
        (cl_context context, cl_device_id device,                              \
            cl_command_queue_properties properties, cl_int * ret_code))        \
    X(clGetCommandQueueInfo, cl_int,                                           \
        (cl_command_queue queue, cl_command_queue_info what, size_t size,      \
            void *ret, size_t *ret_size))                                      \
    X(clReleaseCommandQueue, cl_int, (cl_command_queue queue))                 \
    X(clCreateBuffer, cl_mem,                                                  \
        (cl_context context, cl_mem_flags flags, size_t bytes, void *host,     \
            cl_int *ret_code))                                                 \
    X(clReleaseMemObject, cl_int, (cl_mem memory))                             \
    X(clCreateProgramWithSource, cl_program,                                   \
        (cl_context context, cl_uint count, const char **texts,                \
            const size_t *lengths, cl_int *ret_code))                          \
    X(clBuildProgram, cl_int,                                                  \
        (cl_program program, cl_uint count, const cl_device_id *devices,       \
            const char *options, void (*notify)(cl_program, void *),           \
            void *arg))                                                        \
    X(clGetProgramBuildInfo, cl_int,                                           \
        (cl_program program, cl_device_id device, cl_program_build_info what,  \
            size_t size, void *ret, size_t *ret_size))                         \
    X(clReleaseProgram, cl_int, (cl_program program))                          \
    X(clCreateKernel, cl_kernel,                                               \
        (cl_program program, const char *name, cl_int *ret_code))              \
    X(clReleaseKernel, cl_int, (cl_kernel kernel))                             \
    X(clGetKernelInfo, cl_int,                                                 \
        (cl_kernel kernel, cl_kernel_info what, size_t size, void *ret,        \
            size_t *ret_size))                                                 \
    X(clSetKernelArg, cl_int,                                                  \
        (cl_kernel kernel, cl_uint index, size_t size, const void *value))     \
    X(clEnqueueWriteBuffer, cl_int,                                            \
        (cl_command_queue queue, cl_mem to, cl_bool blocking, size_t offset,   \
            size_t bytes, const void *from, cl_uint count,                     \
            const cl_event *after, cl_event *ret_event))                       \
    X(clEnqueueReadBuffer, cl_int,                                             \
        (cl_command_queue queue, cl_mem from, cl_bool blocking, size_t offset, \
            size_t bytes, void *to, cl_uint count, const cl_event *after,      \
            cl_event *ret_event))                                              \
    X(clEnqueueFillBuffer, cl_int,                                             \
        (cl_command_queue queue, cl_mem to, const void *pattern,               \
            size_t pattern_bytes, size_t offset, size_t bytes, cl_uint count,  \
            const cl_event *after, cl_event *ret_event))                       \
    X(clEnqueueNDRangeKernel, cl_int,                                          \
        (cl_command_queue queue, cl_kernel kernel, cl_uint dimensions,         \
            const size_t *offset, const size_t *global, const size_t *local,   \
            cl_uint count, const cl_event *after, cl_event *ret_event))        \
    X(clFlush, cl_int, (cl_command_queue queue))                               \
    X(clFinish, cl_int, (cl_command_queue queue))                              \
    X(clWaitForEvents, cl_int, (cl_uint count, const cl_event *events))        \
    X(clGetEventInfo, cl_int,                                                  \
        (cl_event event, cl_event_info what, size_t size, void *ret,           \
            size_t *ret_size))                                                 \
    X(clReleaseEvent, cl_int, (cl_event event))

/* The check includes Khronos's header first, and takes the types from it. */
#ifndef CL_VERSION_1_2
#define BELAY__OPENCL_TYPE(name, type) typedef type name;
BELAY__OPENCL_TYPES(BELAY__OPENCL_TYPE)
#undef BELAY__OPENCL_TYPE

enum belay__opencl_value {
#define BELAY__OPENCL_VALUE(name, value) name = (value),
    BELAY__OPENCL_CODES(BELAY__OPENCL_VALUE)
        BELAY__OPENCL_VALUES(BELAY__OPENCL_VALUE)
#undef BELAY__OPENCL_VALUE
};
#endif

#endif
