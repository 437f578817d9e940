/* fake_cuda.c - finds the controls of the fake driver in its library. */
#include "test/support/fake_cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;

/* The same copy that the pool has loaded. */
static void
find(const char *name, void *ret)
{
    void *symbol = dlsym(library, name);

    if (symbol == NULL) {
        (void)fprintf(stderr, "%s: %s\n", name, dlerror());
        abort();
    }
    memcpy(ret, &symbol, sizeof(symbol));
}

static void
use(const char *path)
{
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL) {
        (void)fprintf(stderr, "%s\n", dlerror());
        abort();
    }
    (void)setenv("BELAY_CUDA_LIBRARY", path, 1);
}

/* No management library of this machine, whatever it has. */
void
fake_cuda_use(const char *script)
{
    (void)setenv("BELAY_FAKE_CUDA", script, 1);
    (void)setenv("BELAY_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1", 1);
    use(FAKE_CUDA);
}

void
fake_nvml_use(const char *failing)
{
    (void)setenv("BELAY_NVML_LIBRARY", FAKE_NVML, 1);
    (void)setenv("BELAY_FAKE_NVML", failing, 1);
}

void
fake_cuda_use_old(void)
{
    use(FAKE_CUDA_OLD);
}

void
fake_cuda_offer(const char *script)
{
    static const char path[] = FAKE_CUDA;
    char folder[sizeof(path)];

    memcpy(folder, path, sizeof(path));
    *strrchr(folder, '/') = '\0';
    (void)setenv("LD_LIBRARY_PATH", folder, 1);
    (void)setenv("BELAY_FAKE_CUDA", script, 1);
    (void)unsetenv("BELAY_CUDA_LIBRARY");
}

void
fake_probe_use(const char *what)
{
    (void)setenv("BELAY_GPU_PROBE", FAKE_PROBE, 1);
    (void)setenv("BELAY_FAKE_PROBE", what, 1);
}

void
fake_cuda_script(const char *words)
{
    fake_cuda_script_fn *script;

    find("fake_cuda_script", &script);
    script(words);
}

void
fake_cuda_open(void)
{
    fake_cuda_open_fn *open;

    find("fake_cuda_open", &open);
    open();
}

void
fake_cuda_repair(void)
{
    fake_cuda_repair_fn *repair;

    find("fake_cuda_repair", &repair);
    repair();
}

int64_t
fake_cuda_value(const char *name)
{
    fake_cuda_value_fn *value;

    find("fake_cuda_value", &value);
    return value(name);
}

int64_t
fake_cuda_calls_by(int tid)
{
    fake_cuda_calls_by_fn *calls_by;

    find("fake_cuda_calls_by", &calls_by);
    return calls_by(tid);
}

void
fake_cuda_forget(void)
{
    library = NULL;
}

void
fake_cuda_check_clean(void)
{
    static const char *const held[] = {"contexts", "streams", "events",
        "modules", "device_bytes", "host_bytes", "running", "marks"};

    for (size_t i = 0; library != NULL && i < sizeof(held) / sizeof(held[0]);
         i++) {
        if (fake_cuda_value(held[i]) != 0) {
            (void)fprintf(stderr, "fake libcuda: %s: %lld\n", held[i],
                (long long)fake_cuda_value(held[i]));
            abort();
        }
    }
}
