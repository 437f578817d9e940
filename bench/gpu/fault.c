/* fault.c - R5: a kernel that breaks its device, in a process of its own.
 *
 *     gpu-check fault wild|assert
 *
 * Tells the code, how long it takes to be told, whether a host function is
 * really never called, and whether a reset of the primary context brings the
 * device back in the same process.
 */
#include "bench/gpu/raw.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define HEAD ".version 6.0\n.target sm_50\n.address_size 64\n"

/* Stores to an address that nobody has. */
static const char wild_ptx[] =
    HEAD ".visible .entry belay_wild(.param .u64 at)\n"
         "{\n"
         "    .reg .b64 %at;\n"
         "    .reg .b32 %one;\n"
         "    ld.param.u64 %at, [at];\n"
         "    mov.u32 %one, 1;\n"
         "    st.global.u32 [%at], %one;\n"
         "    ret;\n"
         "}\n";

/* What assert() of device code calls. */
static const char assert_ptx[] = HEAD
    ".extern .func __assertfail(.param .b64 message, .param .b64 file,\n"
    "    .param .b32 line, .param .b64 function, .param .b64 size);\n"
    ".global .align 1 .b8 text[6] = {98, 101, 108, 97, 121, 0};\n"
    ".visible .entry belay_assert(.param .u64 at)\n"
    "{\n"
    "    .reg .b64 %text;\n"
    "    mov.u64 %text, text;\n"
    "    cvta.global.u64 %text, %text;\n"
    "    {\n"
    "        .param .b64 message;\n"
    "        .param .b64 file;\n"
    "        .param .b32 line;\n"
    "        .param .b64 function;\n"
    "        .param .b64 size;\n"
    "        st.param.b64 [message], %text;\n"
    "        st.param.b64 [file], %text;\n"
    "        st.param.b32 [line], 1;\n"
    "        st.param.b64 [function], %text;\n"
    "        st.param.b64 [size], 1;\n"
    "        call.uni __assertfail, (message, file, line, function, size);\n"
    "    }\n"
    "    ret;\n"
    "}\n";

static bool host_called; /* atomic */

static void
on_host(void *arg)
{
    (void)arg;
    __atomic_store_n(&host_called, true, __ATOMIC_RELEASE);
}

/* Everything of the context has gone with the fault: is a new one well? */
static CUresult
try_again(struct raw *raw)
{
    CUcontext context;
    CUdeviceptr at;
    CUresult code;

    (void)raw->cuCtxSetCurrent(NULL);
    code = raw->cuDevicePrimaryCtxReset(raw->device);
    if (code == CUDA_SUCCESS) {
        code = raw->cuDevicePrimaryCtxRetain(&context, raw->device);
    }
    if (code == CUDA_SUCCESS) {
        code = raw->cuCtxSetCurrent(context);
    }
    if (code == CUDA_SUCCESS) {
        code = raw->cuMemAlloc(&at, 4096);
    }
    return code;
}

int
check_fault(int argc, char **argv)
{
    bool wild = argc == 1 && strcmp(argv[0], "wild") == 0;
    uint64_t at = 16;
    void *parameters[] = {&at};
    struct raw raw;
    CUmodule module;
    CUfunction function;
    CUstream streams[2];
    CUevent events[2];
    CUresult codes[2];
    double took_us;

    if (!wild && (argc != 1 || strcmp(argv[0], "assert") != 0)) {
        return 2;
    }
    raw_open(&raw);
    raw_check(&raw,
        raw.cuModuleLoadDataEx(
            &module, wild ? wild_ptx : assert_ptx, 0, NULL, NULL),
        "cuModuleLoadDataEx");
    raw_check(&raw,
        raw.cuModuleGetFunction(
            &function, module, wild ? "belay_wild" : "belay_assert"),
        "cuModuleGetFunction");
    for (int i = 0; i < 2; i++) {
        raw_check(&raw,
            raw.cuStreamCreateWithPriority(
                &streams[i], CU_STREAM_NON_BLOCKING, 0),
            "cuStreamCreateWithPriority");
        raw_check(&raw,
            raw.cuEventCreate(
                &events[i], CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING),
            "cuEventCreate");
    }
    /* Another slot has a long kernel under way. */
    raw_check(&raw, raw_spin(&raw, streams[1], 1, raw_rounds(&raw, 1e6)),
        "cuLaunchKernel");
    raw_check(&raw, raw.cuEventRecord(events[1], streams[1]), "cuEventRecord");
    took_us = now_us();
    raw_check(&raw,
        raw.cuLaunchKernel(
            function, 1, 1, 1, 1, 1, 1, 0, streams[0], parameters, NULL),
        "cuLaunchKernel");
    (void)raw.cuLaunchHostFunc(streams[0], on_host, NULL);
    (void)raw.cuEventRecord(events[0], streams[0]);
    codes[0] = raw.cuEventSynchronize(events[0]);
    took_us = now_us() - took_us;
    codes[1] = raw.cuEventSynchronize(events[1]);
    (void)printf("{\"fault\": \"%s\", \"code\": %u, \"told_after_us\": %.0f, "
                 "\"code_of_the_other_stream\": %u, "
                 "\"host_function_called\": %s, ",
        argv[0], codes[0], took_us, codes[1],
        __atomic_load_n(&host_called, __ATOMIC_ACQUIRE) ? "true" : "false");
    (void)printf("\"code_after_reset\": %u}\n", try_again(&raw));
    return 0;
}
