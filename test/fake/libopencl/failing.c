/* failing.c - functions of OpenCL that fail when they are told to. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "test/fake/libopencl/control.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/opencl_api.h"

enum { RULES_MAX = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char name[40];
    int left; /* calls until it fails; 0: used up */
    cl_int code;
} rules[RULES_MAX];
static int rule_count;

void
fake_opencl_script(const char *words)
{
    pthread_mutex_lock(&lock);
    while (*words != '\0') {
        size_t length = strcspn(words, ":");
        char *end;

        if (rule_count == RULES_MAX || words[length] != ':'
            || length >= sizeof(rules[0].name)) {
            abort();
        }
        memset(rules[rule_count].name, 0, sizeof(rules[0].name));
        memcpy(rules[rule_count].name, words, length);
        rules[rule_count].left = (int)strtol(words + length + 1, &end, 10);
        rules[rule_count].code = (cl_int)strtol(end + 1, &end, 10);
        rule_count++;
        words = end + strspn(end, " ");
    }
    pthread_mutex_unlock(&lock);
}

/* The code that this call is to answer, or 0. */
static cl_int
scripted(const char *name)
{
    cl_int code = CL_SUCCESS;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < rule_count; i++) {
        if (strcmp(rules[i].name, name) == 0 && rules[i].left > 0
            && --rules[i].left == 0) {
            code = rules[i].code;
        }
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static void *
real(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    if (symbol == NULL) {
        fprintf(stderr, "libOpenCL has no %s\n", name);
        abort();
    }
    return symbol;
}

/* `call`: a pointer to the real function of that name. */
#define REAL(name, ret_call)                            \
    do {                                                \
        void *symbol_ = real(#name);                    \
        memcpy(&(ret_call), &symbol_, sizeof(symbol_)); \
    } while (0)

/* X(name, parameters, arguments): those that answer a code. */
#define CODES(X)                                                               \
    X(clFlush, (cl_command_queue queue), (queue))                              \
    X(clFinish, (cl_command_queue queue), (queue))                             \
    X(clWaitForEvents, (cl_uint count, const cl_event *events),                \
        (count, events))                                                       \
    X(clEnqueueReadBuffer,                                                     \
        (cl_command_queue queue, cl_mem from, cl_bool blocking, size_t offset, \
            size_t bytes, void *to, cl_uint count, const cl_event *after,      \
            cl_event *ret_event),                                              \
        (queue, from, blocking, offset, bytes, to, count, after, ret_event))   \
    X(clBuildProgram,                                                          \
        (cl_program program, cl_uint count, const cl_device_id *devices,       \
            const char *options, void (*notify)(cl_program, void *),           \
            void *arg),                                                        \
        (program, count, devices, options, notify, arg))

/* And those that answer a handle. */
#define HANDLES(X)                                                         \
    X(clCreateContext, cl_context,                                         \
        (const cl_context_properties *properties, cl_uint count,           \
            const cl_device_id *devices,                                   \
            void (*notify)(const char *, const void *, size_t, void *),    \
            void *arg, cl_int *ret_code),                                  \
        (properties, count, devices, notify, arg, ret_code))               \
    X(clCreateCommandQueue, cl_command_queue,                              \
        (cl_context context, cl_device_id device,                          \
            cl_command_queue_properties properties, cl_int * ret_code),    \
        (context, device, properties, ret_code))                           \
    X(clCreateBuffer, cl_mem,                                              \
        (cl_context context, cl_mem_flags flags, size_t bytes, void *host, \
            cl_int *ret_code),                                             \
        (context, flags, bytes, host, ret_code))

#define CODE_CALL(name, parameters, arguments) \
    cl_int name parameters;                    \
    cl_int name parameters                     \
    {                                          \
        cl_int(*call) parameters;              \
        cl_int code_ = scripted(#name);        \
                                               \
        if (code_ != CL_SUCCESS) {             \
            return code_;                      \
        }                                      \
        REAL(name, call);                      \
        return call arguments;                 \
    }
CODES(CODE_CALL)

#define HANDLE_CALL(name, handle, parameters, arguments) \
    handle name parameters;                              \
    handle name parameters                               \
    {                                                    \
        handle(*call) parameters;                        \
        cl_int code_ = scripted(#name);                  \
                                                         \
        if (code_ != CL_SUCCESS) {                       \
            *ret_code = code_;                           \
            return NULL;                                 \
        }                                                \
        REAL(name, call);                                \
        return call arguments;                           \
    }
HANDLES(HANDLE_CALL)

cl_int clGetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info what,
    size_t size, void *ret, size_t *ret_size);
cl_int clReleaseCommandQueue(cl_command_queue queue);

cl_int
clGetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info what,
    size_t size, void *ret, size_t *ret_size)
{
    cl_int (*ask)(
        cl_command_queue, cl_command_queue_info, size_t, void *, size_t *);
    cl_int code;

    REAL(clGetCommandQueueInfo, ask);
    code = ask(queue, what, size, ret, ret_size);
    if (code == CL_SUCCESS && what == CL_QUEUE_REFERENCE_COUNT) {
        *(cl_uint *)ret += (cl_uint)scripted("held");
    }
    return code;
}

cl_int
clReleaseCommandQueue(cl_command_queue queue)
{
    cl_int (*release)(cl_command_queue);

    pthread_mutex_lock(&lock);
    for (int i = 0; i < rule_count; i++) {
        if (strcmp(rules[i].name, "held") == 0 && rules[i].left > 0) {
            fprintf(stderr, "a queue is released that others hold\n");
            abort();
        }
    }
    pthread_mutex_unlock(&lock);
    REAL(clReleaseCommandQueue, release);
    return release(queue);
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel,
    cl_uint dimensions, const size_t *offset, const size_t *global,
    const size_t *local, cl_uint count, const cl_event *after,
    cl_event *ret_event);

/* A kernel that fails: it waits for an event of ours, and that fails. */
cl_int
clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel,
    cl_uint dimensions, const size_t *offset, const size_t *global,
    const size_t *local, cl_uint count, const cl_event *after,
    cl_event *ret_event)
{
    cl_int (*launch)(cl_command_queue, cl_kernel, cl_uint, const size_t *,
        const size_t *, const size_t *, cl_uint, const cl_event *, cl_event *);
    cl_event (*create)(cl_context, cl_int *);
    cl_int (*fail)(cl_event, cl_int);
    cl_int (*release)(cl_event);
    cl_int (*ask)(cl_command_queue, cl_uint, size_t, void *, size_t *);
    cl_int code = scripted("clEnqueueNDRangeKernel");
    cl_int status = scripted("event");
    cl_context context;
    cl_event event;

    if (code != CL_SUCCESS) {
        return code;
    }
    REAL(clEnqueueNDRangeKernel, launch);
    if (status == CL_SUCCESS) {
        return launch(queue, kernel, dimensions, offset, global, local, count,
            after, ret_event);
    }
    REAL(clCreateUserEvent, create);
    REAL(clSetUserEventStatus, fail);
    REAL(clReleaseEvent, release);
    REAL(clGetCommandQueueInfo, ask);
    code = ask(
        queue, 0x1090 /* CL_QUEUE_CONTEXT */, sizeof(context), &context, NULL);
    if (code != CL_SUCCESS) {
        return code;
    }
    event = create(context, &code);
    if (code != CL_SUCCESS) {
        return code;
    }
    code = launch(
        queue, kernel, dimensions, offset, global, local, 1, &event, ret_event);
    (void)fail(event, status);
    (void)release(event);
    return code;
}
