/* sweeps.c - every program of every suite, again and again, with faults.
 *
 * A first trial without a fault tells how many waits and allocations there
 * are. If it dies, dying is what the test is about, and there is no sweep.
 * Parent and trial share one page, in which the trial says how it went.
 */
#define _GNU_SOURCE /* syscall() */
#include "test/support/sweeps.h"

#include "runtime/internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIAL_S 60         /* of processor time; then it hangs */
#define ASLEEP_LOOKS 50000 /* a bound, never reached */
#define COUNT_FROM (UINT64_MAX / 2)
#define SLOW_MAX 512 /* operations that stand for sleeps at a time */

bool program_disturbed;
int program_other_code;
bool program_unswept;
bool program_may_stall;
void (*program_before_trial)(void);

/* ---- sleeps as operations, through the public bridge ---- */

/* In place of one sleep: what ends it is a timer of the runtime. */
struct slow {
    struct belay_op op;
    struct belay__timer timer;
    belay_runtime *runtime;
    int64_t due_ns;
    bool refuses; /* to be aborted */
    bool aborted;
    bool used;
};

static enum pace pace;
static struct slow slows[SLOW_MAX];
static size_t slow_count;

static struct slow *
slow_new(void)
{
    struct slow *slow;

    for (size_t i = 0; i < SLOW_MAX; i++) {
        slow = &slows[(slow_count + i) % SLOW_MAX];
        if (!slow->used) {
            slow_count++;
            *slow = (struct slow){.used = true, .refuses = slow_count % 2 == 0};
            return slow;
        }
    }
    return NULL;
}

static void
on_slow(struct belay__timer *timer)
{
    struct slow *slow = BELAY__CONTAINER(timer, struct slow, timer);

    belay__timer_fini(slow->runtime, &slow->timer);
    slow->used = false;
    slow->runtime->pending_ops++; /* see late_sleep() */
    belay_op_done(&slow->op, slow->aborted ? BELAY_ECANCELED : 0, NULL);
}

static enum belay_abort
slow_abort(struct belay_op *op)
{
    struct slow *slow = BELAY__CONTAINER(op, struct slow, op);
    const int64_t later = belay__due(slow->runtime, belay_milliseconds(1));

    if (slow->refuses && slow->due_ns != INT64_MAX) {
        return BELAY_ABORT_REFUSED;
    }
    if (later < slow->due_ns) {
        slow->aborted = true;
        belay__timer_start(slow->runtime, &slow->timer, later);
    }
    return BELAY_ABORT_LATER;
}

static belay_next
late_sleep(belay_task *task, int64_t due_ns)
{
    belay_runtime *runtime = belay_task_runtime(task);
    struct slow *slow = slow_new();

    if (slow == NULL || belay__timer_init(runtime, &slow->timer, on_slow) < 0) {
        if (slow != NULL) {
            slow->used = false;
        }
        return (belay_sleep_until)(task, (belay_time){due_ns});
    }
    slow->runtime = runtime;
    slow->due_ns = due_ns;
    if (belay_op_begin(task, &slow->op, slow_abort) < 0) {
        belay__timer_fini(runtime, &slow->timer);
        slow->used = false;
        return belay_op_wait(&slow->op);
    }
    /* A virtual clock jumps when nothing from outside is waited for. */
    runtime->pending_ops--;
    belay__timer_start(runtime, &slow->timer, due_ns);
    return belay_op_wait(&slow->op);
}

/* On a virtual clock, which is then later. */
static belay_next
sync_sleep(belay_task *task, int64_t due_ns)
{
    belay_runtime *runtime = belay_task_runtime(task);
    struct belay_op op = {0};

    if (runtime->clock == NULL || due_ns == INT64_MAX) {
        return (belay_sleep_until)(task, (belay_time){due_ns});
    }
    if (belay_op_begin(task, &op, NULL) == 0) {
        belay_clock_advance(runtime->clock,
            belay_nanoseconds(due_ns - belay__clock_now(runtime)));
        belay_op_done(&op, 0, NULL);
    }
    return belay_op_wait(&op);
}

belay_next
program_sleep_until(belay_task *task, belay_time when)
{
    if (pace == PACE_NORMAL
        || when.ns <= belay__clock_now(belay_task_runtime(task))) {
        return (belay_sleep_until)(task, when);
    }
    return pace == PACE_SYNC ? sync_sleep(task, when.ns)
                             : late_sleep(task, when.ns);
}

belay_next
program_sleep(belay_task *task, belay_duration span)
{
    if (pace == PACE_NORMAL || span.ns <= 0) {
        return (belay_sleep)(task, span);
    }
    return program_sleep_until(
        task, (belay_time){belay__due(belay_task_runtime(task), span)});
}

/* ---- trials ---- */

/* One row for each kind of sweep. */
struct kind {
    const char *name; /* in BELAY_SWEEP */
    const char *text;
    struct fault fault; /* cancel_in: at the k-th place */
    bool alloc;         /* refuse the k-th allocation */
    bool alloc_rest;    /* and all later ones */
};

/* In pairs. */
static const struct kind kinds[] = {
    {"cancel", "cancel before wait", {1, false, PACE_NORMAL}, false, false},
    {"cancel", "cancel during wait", {1, true, PACE_NORMAL}, false, false},
    {"alloc", "no memory at", {0, false, PACE_NORMAL}, true, false},
    {"alloc", "no memory from", {0, false, PACE_NORMAL}, true, true},
    {"sync", "all at once, cancel before wait", {1, false, PACE_SYNC}, false,
        false},
    {"sync", "all at once, cancel during wait", {1, true, PACE_SYNC}, false,
        false},
    {"late", "all late, cancel before wait", {1, false, PACE_LATE}, false,
        false},
    {"late", "all late, cancel during wait", {1, true, PACE_LATE}, false,
        false},
};

static const struct kind no_fault = {"", "no fault", {0}, false, false};

/* The page that a trial shares with its parent. */
struct report {
    uint64_t waits;
    uint64_t allocs;
    int code;
    int signal;     /* that has killed it */
    bool explained; /* the code, by the fault or by `normal` */
    bool done;
    char text[512]; /* of the result */
};

/* Does an error in the tree have this code? Of twins one is enough: where each
 * group has the next one twice there are more ways than time.
 */
static bool
comes_from(const belay_error *error, int code)
{
    const belay_error *child;
    const belay_error *before = NULL;
    size_t count = 0;
    bool found = false;

    if (error == NULL) {
        return false;
    }
    found = belay_error_code(error) == code
            || comes_from(belay_error_cause(error), code)
            || comes_from(belay_error_context(error), code);
    for (; !found && (child = belay_error_child(error, count)) != NULL;
         count++) {
        found = child != before && comes_from(child, code);
        before = child;
    }
    /* Without memory a group keeps the number of its failures only. */
    return found || (count > 0 && belay_error_failures(error) > count);
}

/* A result that is due to the fault, or there without it: at the usual pace,
 * or at the one of this sweep.
 */
static bool
is_explained(const struct belay_result *result, const int *normal)
{
    const int codes[] = {normal[0], normal[1], BELAY_ECANCELED, BELAY_ENOMEM,
        BELAY_GPU_ENOMEM, program_other_code};

    if (result->code >= 0
        || (result->code == BELAY_EGROUP && result->error == NULL)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        if (result->code == codes[i] || comes_from(result->error, codes[i])) {
            return true;
        }
    }
    return false;
}

static void
try_here(const struct program *program, const struct kind *kind, uint64_t k,
    const int *normal, struct report *report)
{
    struct fault fault = kind->fault;
    struct belay_result result;
    size_t blocks;
    size_t fds;
    uint64_t left;

    program_disturbed = true;
    pace = fault.pace;
    fault.cancel_in = fault.cancel_in > 0 && k > 0 ? k : COUNT_FROM;
    trace_clear();
    blocks = test_alloc_live_blocks();
    fds = program_count_fds();
    if (kind->alloc_rest) {
        test_alloc_fail_after(k - 1);
    } else if (kind->alloc) {
        test_alloc_fail_at(k - 1);
    } else {
        test_alloc_never_fail();
    }
    (void)program_try(program, &fault, &left, &result);
    report->allocs = test_alloc_calls();
    report->waits = COUNT_FROM - left;
    test_alloc_never_fail();
    report->code = result.code;
    report->explained = is_explained(&result, normal);
    (void)belay_result_format(&result, report->text, sizeof(report->text));
    belay_error_unref(result.error);
    program_check_left(kind->text, k, blocks, fds);
    report->done = true;
}

static struct report *
shared_page(void)
{
    static struct report *page;

    if (page == NULL) {
        page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert(ne(ptr, page, MAP_FAILED));
    }
    return page;
}

static void
be_the_trial(const struct program *program, const struct kind *kind, uint64_t k,
    const int *normal, struct report *report)
{
    const struct rlimit time = {TRIAL_S, TRIAL_S};
    const struct rlimit core = {0, 0};

    (void)setrlimit(RLIMIT_CPU, &time);
    (void)setrlimit(RLIMIT_CORE, &core);
    (void)alarm(TRIAL_S * 2); /* for one that waits */
    if (program_before_trial != NULL) {
        program_before_trial();
    }
    try_here(program, kind, k, normal, report);
    _exit(0);
}

/* Is the thread asleep, where no lock is held? */
static bool
is_asleep(const char *tid)
{
    static const long waits[] = {
        SYS_epoll_wait, SYS_epoll_pwait, SYS_futex, SYS_clock_nanosleep};
    char path[64];
    char text[64] = "";
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%.16s/syscall", tid);
    file = fopen(path, "re");
    if (file == NULL || fgets(text, sizeof(text), file) == NULL) {
        text[0] = '\0'; /* it has ended, or cannot be asked */
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
        if (strtol(text, NULL, 10) == waits[i] && text[0] != 'r') {
            return true;
        }
    }
    return text[0] == '\0';
}

/* The servers of a test are threads, and Criterion has one. What one of them
 * holds at a fork, as a sanitizer's lock in malloc(), a child would wait for in
 * vain.
 */
static bool
others_are_asleep(void)
{
    const long own = syscall(SYS_gettid);
    DIR *threads = opendir("/proc/self/task");
    const struct dirent *thread;
    bool asleep = true;

    while (threads != NULL && (thread = readdir(threads)) != NULL) {
        const long tid = strtol(thread->d_name, NULL, 10);

        asleep &= tid == 0 || tid == own || is_asleep(thread->d_name);
    }
    if (threads != NULL) {
        (void)closedir(threads);
    }
    return asleep;
}

/* In a process of its own; false: that has died. */
static bool
try_once(const struct program *program, const struct kind *kind, uint64_t k,
    const int *normal, struct report *ret)
{
    struct report *page = shared_page();
    int status = 0;
    pid_t child;

    memset(page, 0, sizeof(*page));
    (void)fflush(NULL);
    for (int i = 0; i < ASLEEP_LOOKS && !others_are_asleep(); i++) {
        (void)usleep(100);
    }
    child = fork();
    cr_assert(ge(int, child, 0), "fork");
    if (child == 0) {
        be_the_trial(program, kind, k, normal, page);
    }
    while (waitpid(child, &status, 0) < 0) {
    }
    *ret = *page;
    ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return page->done && status == 0;
}

/* ---- sweeps ---- */

/* For one fault in one program, at most; all of them, unless it says so. */
static uint64_t
points_wanted(void)
{
    const char *text = getenv("BELAY_SWEEP_POINTS");

    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10)
                                           : UINT64_MAX;
}

/* Some number, the same whenever the test runs. */
static uint64_t
number_of_test(void)
{
    uint64_t number = 14695981039346656037U; /* FNV-1a */

    for (const char *c = criterion_current_test->name; *c != '\0'; c++) {
        number = (number ^ (unsigned char)*c) * 1099511628211U;
    }
    return number >> 32;
}

/* Evenly over 1 to `count`, both ends among them; a single one is anywhere. */
static uint64_t
place(uint64_t i, uint64_t points, uint64_t count)
{
    return points == 1 ? 1 + number_of_test() % count
                       : 1 + i * (count - 1) / (points - 1);
}

static void
must_go_well(const struct program *program, const struct kind *kind, uint64_t k,
    const int *normal, struct report *ret)
{
    const bool ended = try_once(program, kind, k, normal, ret);

    cr_assert(ended, "%s, %s %" PRIu64 ": died by signal %d", kind->text,
        program->function->name, k, ret->signal);
    cr_assert(ret->explained || k == 0,
        "%s, %s %" PRIu64 ": ends with %s (%s), and with %s when left alone",
        kind->text, program->function->name, k, belay_code_name(ret->code),
        ret->text, belay_code_name(normal[1]));
}

/* A line for each sweep, and for each program that has none. */
static void
note(const struct program *program, const char *what, uint64_t count,
    uint64_t points, uint64_t begin_ns)
{
    const char *name = getenv("BELAY_SWEEP_LOG");
    FILE *log = name != NULL ? fopen(name, "ae") : NULL;

    if (log == NULL) {
        return;
    }
    (void)fprintf(log, "%s %s\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n",
        criterion_current_test->category, criterion_current_test->name,
        program->function->name, what, count, points,
        (uv_hrtime() - begin_ns) / 1000000);
    (void)fclose(log);
}

static void
sweep_kind(const struct program *program, const struct kind *kind,
    const struct report *normal)
{
    const uint64_t begin_ns = uv_hrtime();
    uint64_t points = points_wanted();
    struct report report = *normal;
    int codes[] = {normal->code, normal->code};
    uint64_t count;

    if (kind->fault.pace != PACE_NORMAL) { /* it goes another way */
        must_go_well(program, kind, 0, codes, &report);
        codes[1] = report.code;
    }
    count = kind->alloc ? report.allocs : report.waits;
    points = points < count ? points : count;
    for (uint64_t i = 0; i < points; i++) {
        must_go_well(program, kind, place(i, points, count), codes, &report);
    }
    note(program, kind->text, count, points, begin_ns);
}

/* Of a pair of kinds a single place is tried of one only, in each test of
 * another one.
 */
static bool
is_turn_of(size_t kind)
{
    return points_wanted() > 1 || kind % 2 == (number_of_test() >> 16) % 2;
}

void
sweeps_try(const struct program *program)
{
    const char *wanted = getenv("BELAY_SWEEP");
    const uint64_t begin_ns = uv_hrtime();
    const int codes[] = {0, 0};
    struct report normal;

    if (wanted == NULL || wanted[0] == '\0') {
        return;
    }
    if (program_unswept) {
        note(program, "unswept", 0, 0, begin_ns);
        return;
    }
    if (!try_once(program, &no_fault, 0, codes, &normal)) {
        note(program, "dies", 0, 0, begin_ns);
        return;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (strstr(wanted, kinds[i].name) != NULL && is_turn_of(i)) {
            sweep_kind(program, &kinds[i], &normal);
        }
    }
}

/* Limits on the time of a test are for the test alone. */
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

__attribute__((constructor)) static void
lift_limits(void)
{
    const char *wanted = getenv("BELAY_SWEEP");

    if (wanted == NULL || wanted[0] == '\0') {
        return;
    }
    for (struct criterion_suite **suite = __start_cr_sts;
         suite != __stop_cr_sts; suite++) {
        if (*suite != NULL) { /* there is padding */
            (*suite)->data->timeout = 0;
        }
    }
}
