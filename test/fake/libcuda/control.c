/* control.c - the script, the figures and the report of the fake driver. */
#define _GNU_SOURCE
#include "test/fake/libcuda/fake.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fake fake = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .devices = 1,
    .mem = 1 << 30,
    .version = 13000,
    .pools = 1,
};

const char *const fake_names[FUNCTIONS] = {
#define NAME(name, version, parameters) [IN_##name] = #name #version,
    BELAY__CUDA_API(NAME) BELAY__CUDA_API_MEASURED(NAME)
#undef NAME
};

static int
function_of(const char *name, size_t length)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        if (strncmp(fake_names[i], name, length) == 0
            && fake_names[i][length] == '\0') {
            return i;
        }
    }
    fprintf(stderr, "fake libcuda: no function %.*s\n", (int)length, name);
    abort();
}

static uint64_t
number(const char **at)
{
    char *end;
    uint64_t value = strtoull(*at, &end, 0);

    if (end == *at) {
        fprintf(stderr, "fake libcuda: no number in \"%s\"\n", *at);
        abort();
    }
    for (const char *unit = "KMG"; *unit != '\0'; unit++) {
        if (strchr(unit, *end) != NULL && *end != '\0') {
            value <<= 10; /* for K, for M again, for G again */
        }
    }
    end += *end != '\0' && strchr("KMG", *end) != NULL;
    *at = end;
    return value;
}

/* The code behind a number: ":700". */
static CUresult
code(const char **at)
{
    if (**at != ':') {
        fprintf(stderr, "fake libcuda: no code in \"%s\"\n", *at);
        abort();
    }
    ++*at;
    return (CUresult)number(at);
}

static const char *
read_rule(const char *at)
{
    struct rule *rule = &fake.rules[fake.rule_count];
    size_t length = strcspn(at, ":");

    if (fake.rule_count++ == RULES_MAX) {
        abort();
    }
    rule->function = function_of(at, length);
    at += length + (at[length] == ':');
    rule->at = number(&at);
    if (rule->at != 0) {
        rule->at += fake.calls[rule->function];
    }
    rule->code = code(&at);
    return at;
}

void
fake_script_read(const char *words)
{
    const char *at = words;

    while (*at != '\0') {
        size_t length = strcspn(at, "= ");
        const char *word = at;

        at += length + (at[length] == '=');
#define WORD(text) \
    (length == sizeof(text) - 1 && memcmp(word, text, length) == 0)
        if (length == 0) {
            at++;
        } else if (WORD("devices")) {
            fake.devices = (int)number(&at);
        } else if (WORD("mem")) {
            fake.mem = number(&at);
        } else if (WORD("others")) {
            fake.others = number(&at);
        } else if (WORD("version")) {
            fake.version = (int)number(&at);
        } else if (WORD("init")) {
            fake.init = (CUresult)number(&at);
        } else if (WORD("pools")) {
            fake.pools = (int)number(&at);
        } else if (WORD("mode")) {
            fake.mode = (int)number(&at);
        } else if (WORD("latency_us")) {
            fake.latency_us = (unsigned)number(&at);
        } else if (WORD("jit_ms")) {
            fake.jit_ms = (unsigned)number(&at);
        } else if (WORD("fault")) {
            fake.fault_at = fake.launches + number(&at);
            fake.fault_code = code(&at);
        } else if (WORD("hang")) {
            fake.hang_at = fake.launches + number(&at);
            fake.open = false;
        } else if (WORD("oom_after")) {
            fake.oom_after = fake.allocations + number(&at) + 1;
        } else if (WORD("reset")) {
            fake.reset_works = number(&at) != 0;
        } else if (WORD("call")) {
            at = read_rule(at);
        } else {
            fprintf(stderr, "fake libcuda: no such word: \"%s\"\n", word);
            abort();
        }
#undef WORD
    }
}

void
fake_cuda_script(const char *words)
{
    pthread_mutex_lock(&fake.lock);
    fake_script_read(words);
    pthread_mutex_unlock(&fake.lock);
}

void
fake_cuda_open(void)
{
    pthread_mutex_lock(&fake.lock);
    fake.open = true;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

void
fake_cuda_repair(void)
{
    pthread_mutex_lock(&fake.lock);
    for (int i = 0; i < DEVICES_MAX; i++) {
        fake.contexts[i].fault = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&fake.lock);
}

void
fake_mark(const char *format, ...)
{
    va_list arguments;

    if (fake.mark_count < MARKS_MAX) {
        va_start(arguments, format);
        vsnprintf(fake.marks[fake.mark_count], sizeof(fake.marks[0]), format,
            arguments);
        va_end(arguments);
    }
    fake.mark_count++;
}

void
fake_count(enum function function)
{
    pid_t tid = (pid_t)syscall(SYS_gettid);
    unsigned i = 0;

    fake.calls[function]++;
    while (i < fake.thread_count && fake.threads[i].tid != tid) {
        i++;
    }
    if (i == THREADS_MAX) {
        return;
    }
    if (i == fake.thread_count) {
        fake.threads[i].tid = tid;
        fake.thread_count++;
    }
    fake.threads[i].calls[function]++;
}

/* Each of our lists begins with the link to the next. */
static int64_t
length(const void *first)
{
    int64_t count = 0;

    for (const void *at = first; at != NULL; at = *(const void *const *)at) {
        count++;
    }
    return count;
}

static int64_t
bytes_held(bool of_host)
{
    int64_t bytes = 0;

    for (const struct block *at = fake.blocks; at != NULL; at = at->next) {
        if ((at->context == NULL) == of_host) {
            bytes += (int64_t)at->bytes;
        }
    }
    return bytes;
}

static int64_t
contexts_held(void)
{
    int64_t count = 0;

    for (int i = 0; i < DEVICES_MAX; i++) {
        count += fake.contexts[i].retained;
    }
    return count;
}

static int64_t
value(const char *name)
{
    const struct {
        const char *name;
        int64_t value;
    } figures[] = {
        {"contexts", contexts_held()},
        {"streams", length(fake.streams)},
        {"events", length(fake.events)},
        {"modules", length(fake.modules)},
        {"device_bytes", bytes_held(false)},
        {"host_bytes", bytes_held(true)},
        {"kernels", (int64_t)fake.finished},
        {"running", (int64_t)fake.running},
        {"marks", (int64_t)fake.mark_count},
        {"dropped", (int64_t)fake.dropped},
        {"launch_priority", fake.launch_priority},
    };

    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        if (strcmp(figures[i].name, name) == 0) {
            return figures[i].value;
        }
    }
    for (int i = 0; i < FUNCTIONS; i++) {
        if (strcmp(fake_names[i], name) == 0) {
            return (int64_t)fake.calls[i];
        }
    }
    return -1;
}

int64_t
fake_cuda_value(const char *name)
{
    int64_t found;

    pthread_mutex_lock(&fake.lock);
    found = value(name);
    pthread_mutex_unlock(&fake.lock);
    return found;
}

int64_t
fake_cuda_calls_by(int tid)
{
    int64_t count = 0;

    pthread_mutex_lock(&fake.lock);
    for (unsigned i = 0; i < fake.thread_count; i++) {
        for (int k = 0; fake.threads[i].tid == tid && k < FUNCTIONS; k++) {
            count += (int64_t)fake.threads[i].calls[k];
        }
    }
    pthread_mutex_unlock(&fake.lock);
    return count;
}

static void
print_thread(FILE *file, unsigned i)
{
    fprintf(file, "thread %d%s:", (int)fake.threads[i].tid,
        fake.threads[i].tid == getpid() ? " (main)" : "");
    for (int k = 0; k < FUNCTIONS; k++) {
        if (fake.threads[i].calls[k] > 0) {
            fprintf(file, " %s=%llu", fake_names[k],
                (unsigned long long)fake.threads[i].calls[k]);
        }
    }
    fputc('\n', file);
}

__attribute__((destructor)) static void
report(void)
{
    const char *path = getenv("BELAY_FAKE_CUDA_REPORT");
    FILE *file = path != NULL ? fopen(path, "ae") : NULL;

    if (file == NULL) {
        return;
    }
    pthread_mutex_lock(&fake.lock);
    fprintf(file, "balance");
    for (const char *const *name = (const char *const[]){"contexts", "streams",
             "events", "modules", "device_bytes", "host_bytes", NULL};
         *name != NULL; name++) {
        fprintf(file, " %s=%lld", *name, (long long)value(*name));
    }
    fputc('\n', file);
    for (unsigned i = 0; i < fake.thread_count; i++) {
        print_thread(file, i);
    }
    for (unsigned i = 0; i < fake.mark_count && i < MARKS_MAX; i++) {
        fprintf(file, "mark %s\n", fake.marks[i]);
    }
    pthread_mutex_unlock(&fake.lock);
    fclose(file);
}
