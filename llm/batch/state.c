/* state.c - what a batch has done, kept beside its output.
 *
 * Order of the writes: "s N", then the request, then the result line, then
 * "d N". So a line is done exactly when its result is in a file, and a line
 * that was sent without one is found in the journal. A state that does not
 * fit is refused before anything is changed.
 */
#include "llm/batch/state.h"

#include "llm/batch/resume.h"
#include "llm/json/text.h"
#include "llm/json/write.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERSION 2
#define COUNTED 2 /* the first whose journal tells tokens and requests */
#define HEADER_MAX 1024
#define LOCK_TRIES 10
#define LOCK_WAIT_NS 2000000
#define HASHED_BYTES ((size_t)1024 * 1024) /* at the start, and at the end */
#define JOURNAL_MAX ((size_t)64 * 1024 * 1024)
#define HEX "0123456789abcdef"

static int fail(char *why, int code, const char *format, ...)
    BELAY_PRINTF(3, 4);

static int
fail(char *why, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, BELAY__BATCH_WHY, format, args);
    va_end(args);
    return code;
}

/* ---- what a state is for ---- */

static uint64_t
fnv1a(uint64_t hash, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static int
hash_range(int fd, uint64_t from, uint64_t to, uint64_t *hash)
{
    char buffer[16384];
    ssize_t n;

    while (from < to) {
        const size_t want =
            to - from < sizeof(buffer) ? (size_t)(to - from) : sizeof(buffer);

        n = pread(fd, buffer, want, (off_t)from);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        *hash = fnv1a(*hash, buffer, (size_t)n);
        from += (uint64_t)n;
    }
    return 0;
}

/* Enough of the input to see that it is another one. */
static int
hash_input(int fd, uint64_t size, uint64_t *ret)
{
    const uint64_t head = size < HASHED_BYTES ? size : HASHED_BYTES;
    const uint64_t tail =
        size - head < HASHED_BYTES ? head : size - HASHED_BYTES;
    int code;

    *ret = UINT64_C(0xcbf29ce484222325);
    code = hash_range(fd, 0, head, ret);
    return code == 0 ? hash_range(fd, tail, size, ret) : code;
}

/* What makes the results of two runs differ in kind. */
static uint64_t
hash_config(const struct belay__batch_state_opts *opts)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const char *name;

    if (opts->model != NULL) {
        hash = fnv1a(hash, opts->model, strlen(opts->model));
    }
    if (opts->bare_url != NULL) {
        hash = fnv1a(hash, "\nbare ", 6);
        hash = fnv1a(hash, opts->bare_url, strlen(opts->bare_url));
    }
    if (opts->simulated) {
        hash = fnv1a(hash, "\nsim", 4);
    }
    if (opts->errors_path == NULL) {
        return fnv1a(hash, "inline", 6);
    }
    /* Only the name, so that the files may be moved together. */
    name = strrchr(opts->errors_path, '/');
    name = name != NULL ? name : opts->errors_path;
    hash = fnv1a(hash, "/", 1);
    return fnv1a(hash, name + (*name == '/'), strlen(name + (*name == '/')));
}

struct header {
    char job[BELAY__BATCH_JOB_SIZE];
    int64_t version;
    int64_t input_size;
    uint64_t input_hash;
    uint64_t config;
};

static int
make_header(
    const struct belay__batch_state_opts *opts, struct header *ret, char *why)
{
    int code;

    *ret = (struct header){
        .version = VERSION,
        .input_size = (int64_t)opts->input_size,
        .config = hash_config(opts),
    };
    code = hash_input(opts->input_fd, opts->input_size, &ret->input_hash);
    return code < 0 ? fail(
               why, code, "cannot read the input: %s", belay_code_text(code))
                    : 0;
}

static void
json_hex(struct belay__json_writer *writer, const char *key, uint64_t value)
{
    char text[BELAY__BATCH_JOB_SIZE];

    (void)snprintf(text, sizeof(text), "%016" PRIx64, value);
    belay__json_key(writer, key);
    belay__json_text(writer, text);
}

static int
write_header(struct belay__batch_state *state, const struct header *header)
{
    struct belay__json_writer writer;
    int code;

    belay__json_begin(&writer, &state->journal);
    belay__json_open_object(&writer);
    belay__json_key(&writer, "belay_batch_state");
    belay__json_int(&writer, header->version);
    belay__json_key(&writer, "job");
    belay__json_text(&writer, state->job);
    belay__json_key(&writer, "input_size");
    belay__json_int(&writer, header->input_size);
    json_hex(&writer, "input_hash", header->input_hash);
    json_hex(&writer, "config", header->config);
    belay__json_close_object(&writer);
    code = belay__json_end(&writer);
    return code == 0 ? belay__buffer_append(&state->journal, "\n", 1) : code;
}

static bool
take_hex(const struct belay__json_value *value, uint64_t *ret)
{
    const char *text = value->raw.data;
    uint64_t number = 0;

    if (value->type != BELAY__JSON_STRING
        || value->raw.len != BELAY__BATCH_JOB_SIZE + 1) {
        return false;
    }
    for (size_t i = 1; i < BELAY__BATCH_JOB_SIZE; i++) {
        const char *digit = memchr(HEX, text[i], sizeof(HEX) - 1);

        if (digit == NULL) {
            return false;
        }
        number = number << 4 | (uint64_t)(digit - HEX);
    }
    *ret = number;
    return true;
}

static void
take_member(const struct belay__json_value *key,
    const struct belay__json_value *value, struct header *ret)
{
    uint64_t job;

    if (belay__json_key_is(key, "belay_batch_state")) {
        (void)belay__json_integer(value->raw, &ret->version);
    } else if (belay__json_key_is(key, "input_size")) {
        (void)belay__json_integer(value->raw, &ret->input_size);
    } else if (belay__json_key_is(key, "input_hash")) {
        (void)take_hex(value, &ret->input_hash);
    } else if (belay__json_key_is(key, "config")) {
        (void)take_hex(value, &ret->config);
    } else if (belay__json_key_is(key, "job") && take_hex(value, &job)) {
        memcpy(ret->job, value->raw.data + 1, sizeof(ret->job) - 1);
    }
}

static bool
parse_header(struct belay_slice line, struct header *ret)
{
    struct belay__json json;
    struct belay__json_value key;
    struct belay__json_value value;

    *ret = (struct header){.version = 0};
    belay__json_open(&json, line);
    if (!belay__json_enter_object(&json)) {
        return false;
    }
    while (belay__json_next_member(&json, &key)) {
        if (belay__json_take(&json, &value)) {
            take_member(&key, &value, ret);
        }
    }
    return belay__json_finish(&json) == 0 && ret->version >= 1
           && ret->version <= VERSION && ret->job[0] != '\0';
}

/* ---- the file ---- */

static void
make_job(char job[BELAY__BATCH_JOB_SIZE])
{
    struct timespec now;
    uint64_t bits = 0;

    if (getrandom(&bits, sizeof(bits), 0) != (ssize_t)sizeof(bits)) {
        /* It only has to differ from run to run. */
        (void)clock_gettime(CLOCK_REALTIME, &now);
        bits = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    (void)snprintf(job, BELAY__BATCH_JOB_SIZE, "%016" PRIx64, bits);
}

/* The header waits until the outputs have been emptied. */
static int
begin_anew(
    struct belay__batch_state *state, const struct header *header, char *why)
{
    const int code = write_header(state, header);

    state->pending = code == 0;
    return code < 0 ? fail(why, code, "%s", belay_code_text(code)) : 0;
}

static bool
is_file(int fd, int other_fd, const char *path)
{
    struct stat info;
    struct stat other;

    return fstat(fd, &info) == 0
           && (path != NULL ? stat(path, &other) : fstat(other_fd, &other)) == 0
           && info.st_dev == other.st_dev && info.st_ino == other.st_ino;
}

/* Who only looks at a job has the lock for a moment. */
static bool
lock(int fd)
{
    const struct timespec moment = {.tv_nsec = LOCK_WAIT_NS};
    bool good = flock(fd, LOCK_EX | LOCK_NB) == 0;

    for (int i = 0; i < LOCK_TRIES && !good && errno == EWOULDBLOCK; i++) {
        (void)nanosleep(&moment, NULL);
        good = flock(fd, LOCK_EX | LOCK_NB) == 0;
    }
    return good;
}

static int
open_file(struct belay__batch_state *state,
    const struct belay__batch_state_opts *opts, int flags, char *why)
{
    state->fd = open(state->path, O_RDWR | O_APPEND | O_CLOEXEC | flags, 0600);
    if (state->fd < 0) {
        return fail(why, -errno, "cannot open '%s': %s", state->path,
            belay_code_text(-errno));
    }
    if (is_file(state->fd, opts->input_fd, NULL)
        || (opts->errors_path != NULL
            && is_file(state->fd, -1, opts->errors_path))) {
        return fail(why, BELAY_EINVAL,
            "'%s' is the state of this run, and the input or the error file "
            "too",
            state->path);
    }
    if (lock(state->fd)) {
        return 0;
    }
    if (errno != EWOULDBLOCK) {
        return fail(why, -errno, "cannot lock '%s': %s", state->path,
            belay_code_text(-errno));
    }
    return fail(why, BELAY_EBUSY,
        "another run is writing to this output ('%s' is locked)", state->path);
}

static bool
read_header(const struct belay__batch_state *state, struct header *ret,
    uint64_t *ret_end)
{
    char text[HEADER_MAX];
    const ssize_t n = pread(state->fd, text, sizeof(text), 0);
    const char *end = n > 0 ? memchr(text, '\n', (size_t)n) : NULL;

    if (end == NULL
        || !parse_header(
            (struct belay_slice){text, (size_t)(end - text)}, ret)) {
        return false;
    }
    *ret_end = (uint64_t)(end - text) + 1;
    return true;
}

static int
check_header(const struct belay__batch_state_opts *opts,
    const struct header *now, const struct header *then, char *why)
{
    if (then->input_size != now->input_size
        || then->input_hash != now->input_hash) {
        return fail(why, BELAY_ESTATE,
            "the input is not the one that '%s' was begun with; --force goes "
            "on all the same, --overwrite begins anew",
            opts->output_path);
    }
    if (then->config != now->config) {
        return fail(why, BELAY_ESTATE,
            "'%s' was begun with another --model, --errors or --input-format, "
            "or one of the two with --sim; --force goes on all the same, "
            "--overwrite begins anew",
            opts->output_path);
    }
    return 0;
}

static int
refuse(const struct belay__batch_state *state,
    const struct belay__batch_state_opts *opts, char *why)
{
    return fail(why, BELAY_EBUSY,
        "'%s' or its error file is there and not empty, and '%s' does not "
        "tell how it was made; --overwrite empties it",
        opts->output_path, state->path);
}

/* Reads the files, then the journal, which lies behind the header. */
static int
go_on(struct belay__batch_state *state,
    const struct belay__batch_state_opts *opts, const struct header *then,
    uint64_t header_end, char *why)
{
    int code;

    memcpy(state->job, then->job, sizeof(state->job));
    state->counted = then->version >= COUNTED;
    if (opts->needs_counts && !state->counted) {
        return fail(why, BELAY_ESTATE,
            "'%s' was begun by an older belay, which has not counted the "
            "tokens and requests that are to be capped; --overwrite begins "
            "anew",
            opts->output_path);
    }
    code = belay__resume_output(state, opts->output_path, false);
    if (code == 0 && opts->errors_path != NULL) {
        code = belay__resume_output(state, opts->errors_path, true);
    }
    if (code == 0) {
        code = belay__resume_journal(state, header_end);
    }
    if (code == 0 && opts->retry_failed && state->failed > 0) {
        code = belay__resume_move_failed(
            state, opts->output_path, opts->errors_path);
    }
    if (code == BELAY_ESTATE) {
        return fail(why, code,
            "'%s' or its error file holds lines of another job than '%s'; "
            "--force leaves them and goes on, --overwrite begins anew",
            opts->output_path, state->path);
    }
    return code < 0 ? fail(why, code, "cannot read what was done before: %s",
               belay_code_text(code))
                    : 0;
}

/* Is there a file, with at least so many bytes? */
static bool
is_there(const char *path, off_t least)
{
    struct stat info;

    return path != NULL && stat(path, &info) == 0 && S_ISREG(info.st_mode)
           && info.st_size >= least;
}

static int
make_path(struct belay__batch_state *state, const char *output_path)
{
    state->path_size = strlen(output_path) + sizeof(".state");
    state->path = belay__alloc(state->memory, state->path_size);
    if (state->path == NULL) {
        return BELAY_ENOMEM;
    }
    (void)snprintf(state->path, state->path_size, "%s.state", output_path);
    return 0;
}

int
belay__batch_state_none(
    struct belay__batch_state *state, struct belay__memory *memory)
{
    *state = (struct belay__batch_state){.memory = memory, .fd = -1};
    belay__buffer_init(&state->journal, memory, JOURNAL_MAX);
    make_job(state->job);
    return 0;
}

/* A run that was killed before its first result has left an empty output: its
 * journal counts. Who removes the output wants to begin anew.
 */
static int
go_on_or_begin(struct belay__batch_state *state,
    const struct belay__batch_state_opts *opts, bool begun, char *why)
{
    struct header now;
    struct header then;
    uint64_t end = 0;
    int code = make_header(opts, &now, why);

    if (code < 0) {
        return code;
    }
    if (opts->overwrite) {
        return begin_anew(state, &now, why);
    }
    if (!read_header(state, &then, &end)) {
        return begun ? refuse(state, opts, why) : begin_anew(state, &now, why);
    }
    code = check_header(opts, &now, &then, why);
    if (!begun && (code < 0 || !is_there(opts->output_path, 0))) {
        return begin_anew(state, &now, why);
    }
    if (code < 0 && !opts->force) {
        return code;
    }
    return go_on(state, opts, &then, end, why);
}

int
belay__batch_state_open(struct belay__batch_state *state,
    struct belay__memory *memory, const struct belay__batch_state_opts *opts,
    char ret_why[BELAY__BATCH_WHY])
{
    const bool begun =
        is_there(opts->output_path, 1) || is_there(opts->errors_path, 1);
    int code;

    (void)belay__batch_state_none(state, memory);
    state->foreign_ok = opts->force;
    state->lines_max = opts->input_size; /* each has at least its newline */
    code = make_path(state, opts->output_path);
    if (code < 0) {
        return fail(ret_why, code, "%s", belay_code_text(code));
    }
    code = open_file(
        state, opts, begun && !opts->overwrite ? 0 : O_CREAT, ret_why);
    if (code == -ENOENT && begun) {
        return refuse(state, opts, ret_why);
    }
    return code < 0 ? code : go_on_or_begin(state, opts, begun, ret_why);
}

int
belay__batch_state_begin(
    struct belay__batch_state *state, char ret_why[BELAY__BATCH_WHY])
{
    int code;

    if (!state->pending) {
        return 0;
    }
    state->pending = false;
    code =
        ftruncate(state->fd, 0) < 0 ? -errno : belay__batch_state_flush(state);
    if (code == 0 && fdatasync(state->fd) < 0 && errno != EINVAL) {
        code = -errno; /* results that were paid for are no use without it */
    }
    state->dirty = false;
    return code < 0 ? fail(ret_why, code, "cannot write '%s': %s", state->path,
               belay_code_text(code))
                    : 0;
}

void
belay__batch_state_close(struct belay__batch_state *state)
{
    if (state->memory == NULL) {
        return;
    }
    if (!state->pending) {
        (void)belay__batch_state_flush(state);
    }
    if (state->fd >= 0) {
        (void)close(state->fd);
        state->fd = -1;
    }
    belay__free(state->memory, state->done.bits, state->done.bytes);
    belay__free(state->memory, state->in_doubt.bits, state->in_doubt.bytes);
    belay__free(state->memory, state->unbilled.bits, state->unbilled.bytes);
    belay__free(state->memory, state->path, state->path_size);
    belay__buffer_fini(&state->journal);
    *state = (struct belay__batch_state){.fd = -1};
}

int
belay__batch_state_look(struct belay__batch_state *state,
    struct belay__memory *memory, const char *output_path,
    uint64_t *ret_journal, bool *ret_running)
{
    struct header header;
    int code;

    (void)belay__batch_state_none(state, memory);
    code = make_path(state, output_path);
    if (code < 0) {
        return code;
    }
    state->fd = open(state->path, O_RDONLY | O_CLOEXEC);
    if (state->fd < 0) {
        return -errno;
    }
    if (!read_header(state, &header, ret_journal)) {
        return BELAY_ESTATE;
    }
    memcpy(state->job, header.job, sizeof(state->job));
    state->counted = header.version >= COUNTED;
    state->lines_max = (uint64_t)header.input_size;
    *ret_running =
        flock(state->fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    (void)flock(state->fd, LOCK_UN); /* a run may begin meanwhile */
    return 0;
}
