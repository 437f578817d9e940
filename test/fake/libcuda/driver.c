/* driver.c - the fake driver: start, devices, contexts and modules.
 *
 * Strict where the real one is: every call is held against the state of the
 * process, the thread and the context before it does anything.
 */
#define _GNU_SOURCE
#include "test/fake/libcuda/fake.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__thread CUcontext fake_current;

static CUresult
scripted(enum function function)
{
    for (unsigned i = 0; i < fake.rule_count; i++) {
        const struct rule *rule = &fake.rules[i];

        if (rule->function == (int)function
            && (rule->at == 0 || rule->at == fake.calls[function])) {
            return rule->code;
        }
    }
    return CUDA_SUCCESS;
}

/* Of a code that is scripted for a call nothing has broken; the caller cannot
 * know that, and is right to leave the context alone from then on.
 */
static bool
is_sticky(CUresult code)
{
    return code == CUDA_ERROR_ECC_UNCORRECTABLE
           || code == CUDA_ERROR_NVLINK_UNCORRECTABLE
           || code == CUDA_ERROR_CONTAINED
           || code >= CUDA_ERROR_ILLEGAL_ADDRESS;
}

CUresult
fake_enter(enum function function, enum need need)
{
    CUresult code;

    pthread_mutex_lock(&fake.lock);
    while (
        fake_current != NULL && fake_current->exclusive && !fake_in_callback) {
        pthread_cond_wait(&fake.changed, &fake.lock);
    }
    fake_count(function);
    code = scripted(function);
    if (code != CUDA_SUCCESS && fake_current != NULL && is_sticky(code)) {
        fake_current->told = true;
    }
    if (code == CUDA_SUCCESS && fake_in_callback) {
        fake_mark("%s called by a callback", fake_names[function]);
        code = CUDA_ERROR_NOT_PERMITTED;
    }
    if (code == CUDA_SUCCESS && need >= NEED_DRIVER && fake.pid != getpid()) {
        code = CUDA_ERROR_NOT_INITIALIZED;
    }
    if (code == CUDA_SUCCESS && need >= NEED_CONTEXT
        && (fake_current == NULL || fake_current->retained == 0)) {
        fake_mark("%s without a context", fake_names[function]);
        code = CUDA_ERROR_INVALID_CONTEXT;
    }
    if (code == CUDA_SUCCESS && need >= NEED_WORKING) {
        code = fake_current->fault;
        if (code != CUDA_SUCCESS) {
            fake_copies_wait(fake_current);
        }
    }
    if (code != CUDA_SUCCESS) {
        pthread_mutex_unlock(&fake.lock);
    }
    return code;
}

CUresult
fake_leave(CUresult result)
{
    pthread_mutex_unlock(&fake.lock);
    return result;
}

CUresult
cuInit(unsigned flags)
{
    const char *words = getenv("BELAY_FAKE_CUDA");

    pthread_mutex_lock(&fake.lock);
    if (words != NULL && fake.calls[IN_cuInit] == 0) {
        fake_script_read(words);
    }
    pthread_mutex_unlock(&fake.lock);
    ENTER(cuInit, NEED_NOTHING);
    LEAVE_IF(flags != 0, CUDA_ERROR_INVALID_VALUE);
    LEAVE_IF(fake.init != CUDA_SUCCESS, fake.init);
    /* A child of fork() stays without. */
    LEAVE_IF(fake.pid != 0 && fake.pid != getpid(), CUDA_ERROR_NOT_INITIALIZED);
    LEAVE_IF(fake.devices == 0, CUDA_ERROR_NO_DEVICE);
    fake.pid = getpid();
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDriverGetVersion(int *ret_version)
{
    ENTER(cuDriverGetVersion, NEED_NOTHING);
    *ret_version = fake.version;
    return fake_leave(CUDA_SUCCESS);
}

static const struct {
    CUresult code;
    const char *name;
} code_names[] = {
#define CODE_CUresult(name, value) {value, #name},
#define CODE_CUdevice_attribute(name, value)
#define CODE_CUjit_option(name, value)
#define CODE_unsigned(name, value)
#define CODE(enumeration, name, value) CODE_##enumeration(name, value)
    BELAY__CUDA_VALUES(CODE)
#undef CODE
};

static const char *
name_of(CUresult result)
{
    for (size_t i = 0; i < sizeof(code_names) / sizeof(code_names[0]); i++) {
        if (code_names[i].code == result) {
            return code_names[i].name;
        }
    }
    return NULL;
}

CUresult
cuGetErrorName(CUresult result, const char **ret_text)
{
    ENTER(cuGetErrorName, NEED_NOTHING);
    *ret_text = name_of(result);
    return fake_leave(
        *ret_text != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult
cuGetErrorString(CUresult result, const char **ret_text)
{
    ENTER(cuGetErrorString, NEED_NOTHING);
    *ret_text = name_of(result) != NULL ? "text of the fake driver" : NULL;
    return fake_leave(
        *ret_text != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult
cuDeviceGetCount(int *ret_count)
{
    ENTER(cuDeviceGetCount, NEED_DRIVER);
    *ret_count = fake.devices;
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDeviceGet(CUdevice *ret_device, int ordinal)
{
    ENTER(cuDeviceGet, NEED_DRIVER);
    LEAVE_IF(ordinal < 0 || ordinal >= fake.devices, CUDA_ERROR_INVALID_DEVICE);
    *ret_device = ordinal;
    return fake_leave(CUDA_SUCCESS);
}

static bool
no_device(CUdevice device)
{
    return device < 0 || device >= fake.devices || device >= DEVICES_MAX;
}

CUresult
cuDeviceGetName(char *ret_name, int size, CUdevice device)
{
    ENTER(cuDeviceGetName, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    snprintf(ret_name, (size_t)size, "Fake %d", device);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDeviceGetAttribute(
    int *ret_value, CUdevice_attribute attribute, CUdevice device)
{
    ENTER(cuDeviceGetAttribute, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *ret_value = 1024;
        break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *ret_value = 4;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
        *ret_value = fake.mode;
        break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        *ret_value = fake.pools;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *ret_value = 9;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *ret_value = 0;
        break;
    default:
        return fake_leave(CUDA_ERROR_INVALID_VALUE);
    }
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDeviceGetUuid_v2(CUuuid *ret_uuid, CUdevice device)
{
    ENTER(cuDeviceGetUuid, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    memset(ret_uuid, 0xfa, sizeof(*ret_uuid));
    ret_uuid->bytes[15] = (char)device;
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDeviceGetPCIBusId(char *ret_id, int size, CUdevice device)
{
    ENTER(cuDeviceGetPCIBusId, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    snprintf(ret_id, (size_t)size, "0000:%02X:00.0", device + 1);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDeviceTotalMem_v2(size_t *ret_bytes, CUdevice device)
{
    ENTER(cuDeviceTotalMem, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    *ret_bytes = fake.mem;
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDevicePrimaryCtxRetain(CUcontext *ret_context, CUdevice device)
{
    ENTER(cuDevicePrimaryCtxRetain, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    LEAVE_IF(
        fake.mode == CU_COMPUTEMODE_PROHIBITED, CUDA_ERROR_DEVICE_UNAVAILABLE);
    fake.contexts[device].device = device;
    fake.contexts[device].retained++;
    *ret_context = &fake.contexts[device];
    return fake_leave(CUDA_SUCCESS);
}

static bool
has_work(const struct CUctx_st *context)
{
    for (struct CUstream_st *at = fake.streams; at != NULL; at = at->next) {
        if (at->context == context && at->first != NULL) {
            return true;
        }
    }
    return false;
}

CUresult
cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    struct CUctx_st *context;

    ENTER(cuDevicePrimaryCtxRelease, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    context = &fake.contexts[device];
    LEAVE_IF(context->retained == 0, CUDA_ERROR_INVALID_CONTEXT);
    if (--context->retained > 0) {
        return fake_leave(CUDA_SUCCESS);
    }
    /* What is left in one that works counts as forgotten, and stays. */
    if (context->fault != CUDA_SUCCESS || context->told) {
        fake_context_empty(context);
    } else if (has_work(context)) {
        fake_mark("context released while work runs in it");
    }
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    (void)flags;
    ENTER(cuDevicePrimaryCtxSetFlags, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    ENTER(cuDevicePrimaryCtxReset, NEED_DRIVER);
    LEAVE_IF(no_device(device), CUDA_ERROR_INVALID_DEVICE);
    if (fake.reset_works) {
        fake.contexts[device].fault = CUDA_SUCCESS;
    }
    return fake_leave(fake.contexts[device].fault);
}

CUresult
cuCtxSetCurrent(CUcontext context)
{
    ENTER(cuCtxSetCurrent, NEED_DRIVER);
    LEAVE_IF(
        context != NULL && context->retained == 0, CUDA_ERROR_INVALID_CONTEXT);
    fake_current = context;
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuCtxGetStreamPriorityRange(int *ret_least, int *ret_greatest)
{
    ENTER(cuCtxGetStreamPriorityRange, NEED_WORKING);
    *ret_least = FAKE_LEAST;
    *ret_greatest = FAKE_GREATEST;
    return fake_leave(CUDA_SUCCESS);
}

/* Modules. Of the PTX text only `.entry NAME (.param .TYPE ...)` is read. */

static size_t
bytes_of_type(const char *type)
{
    return strncmp(type, ".u64", 4) == 0 || strncmp(type, ".b64", 4) == 0
                   || strncmp(type, ".s64", 4) == 0
                   || strncmp(type, ".f64", 4) == 0
               ? 8
               : 4;
}

static struct CUfunc_st *
read_entry(const char *at)
{
    struct CUfunc_st *function = calloc(1, sizeof(*function));
    const char *end = strchr(at, ')');
    size_t length = 0;

    if (function == NULL || end == NULL) {
        free(function);
        return NULL;
    }
    while (isalnum((unsigned char)at[length]) || at[length] == '_') {
        length++;
    }
    snprintf(function->name, sizeof(function->name), "%.*s", (int)length, at);
    function->run = fake_kernel(function->name);
    while ((at = strstr(at, ".param ")) != NULL && at < end
           && function->count < PARAMETERS_MAX) {
        at += strlen(".param ");
        function->bytes[function->count++] = bytes_of_type(at);
    }
    return function;
}

static void
complain(unsigned count, const CUjit_option *options, void **values,
    const char *text)
{
    size_t size = 0;
    char *log = NULL;

    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER) {
            log = values[i];
        } else if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) {
            size = (size_t)(uintptr_t)values[i];
        }
    }
    if (log != NULL && size > 0) {
        snprintf(log, size, "%s", text);
    }
}

CUresult
cuModuleLoadDataEx(CUmodule *ret_module, const void *image, unsigned count,
    CUjit_option *options, void **values)
{
    const char *at = image;
    struct CUmod_st *module;
    struct CUfunc_st *function;
    struct timespec span;

    ENTER(cuModuleLoadDataEx, NEED_WORKING);
    span.tv_sec = fake.jit_ms / 1000;
    span.tv_nsec = (long)(fake.jit_ms % 1000) * 1000000;
    pthread_mutex_unlock(&fake.lock);
    if (span.tv_sec > 0 || span.tv_nsec > 0) {
        nanosleep(&span, NULL);
    }
    pthread_mutex_lock(&fake.lock);
    fake_streams_wait(fake_current); /* as the real one does (R14) */
    if (strstr(at, ".version") == NULL || strstr(at, ".target") == NULL) {
        complain(count, options, values,
            "ptxas application ptx input, line 1; fatal   : "
            "Missing .version directive");
        return fake_leave(CUDA_ERROR_INVALID_PTX);
    }
    module = calloc(1, sizeof(*module));
    LEAVE_IF(module == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    module->context = fake_current;
    while ((at = strstr(at, ".entry ")) != NULL) {
        at += strlen(".entry ");
        function = read_entry(at);
        if (function != NULL) {
            function->module = module;
            function->next = module->functions;
            module->functions = function;
        }
    }
    module->next = fake.modules;
    fake.modules = module;
    *ret_module = module;
    return fake_leave(CUDA_SUCCESS);
}

static struct CUmod_st **
find_module(CUmodule module)
{
    struct CUmod_st **at = &fake.modules;

    while (*at != NULL && *at != module) {
        at = &(*at)->next;
    }
    return at;
}

CUresult
cuModuleGetFunction(CUfunction *ret_function, CUmodule module, const char *name)
{
    struct CUfunc_st *function;

    ENTER(cuModuleGetFunction, NEED_WORKING);
    LEAVE_IF(*find_module(module) == NULL, CUDA_ERROR_INVALID_HANDLE);
    function = module->functions;
    while (function != NULL && strcmp(function->name, name) != 0) {
        function = function->next;
    }
    LEAVE_IF(function == NULL || function->run == NULL, CUDA_ERROR_NOT_FOUND);
    *ret_function = function;
    return fake_leave(CUDA_SUCCESS);
}

/* It is out of the list. */
static void
free_module(struct CUmod_st *module)
{
    struct CUfunc_st *next;

    for (struct CUfunc_st *function = module->functions; function != NULL;
         function = next) {
        next = function->next;
        free(function);
    }
    free(module);
}

void
fake_modules_end(const struct CUctx_st *context)
{
    struct CUmod_st **at = &fake.modules;
    struct CUmod_st *module;

    while ((module = *at) != NULL) {
        if (module->context != context) {
            at = &module->next;
            continue;
        }
        *at = module->next;
        free_module(module);
    }
}

CUresult
cuModuleUnload(CUmodule module)
{
    struct CUmod_st **at;

    ENTER(cuModuleUnload, NEED_CONTEXT);
    fake_streams_wait(fake_current);
    at = find_module(module);
    LEAVE_IF(*at == NULL, CUDA_ERROR_INVALID_HANDLE);
    if (fake_stream_runs(module)) {
        fake_mark("module unloaded while a kernel of it runs");
    }
    *at = module->next;
    free_module(module);
    return fake_leave(CUDA_SUCCESS);
}
