/* lock.c - a lock file for each slot: taken, given back, asked about.
 *
 * flock(), because the kernel drops it on any death, kill -9 included, and
 * because it belongs to the open file: another pool of this process is a
 * stranger too. It is only ever tried (LOCK_NB), so nothing here waits; the
 * files are expected on a local file system.
 *
 * Files are never unlinked: who had an unlinked one open would lock nothing.
 * They are opened as they are first, since in a sticky folder the kernel
 * refuses O_CREAT for another user's file.
 */
#include "gpu/lock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME_MAX (sizeof("belay-gpu--63.lock") + 64)
#define INTERRUPTIONS 100      /* of one call; then it has failed */
#define PAUSE_NS 10000000      /* for those to whom a lock was given */
#define PATIENCE_NS 1000000000 /* see belay__gpu_lock_patience_ns() */

static const char *const folders[] = {"/run/lock", "/tmp"};

/* ---- forks ---- */

/* Files of slots on which work was left behind: locked until this process ends,
 * longer than pool and runtime live. So it is malloc()ed, and with the pool,
 * since leaving must not fail.
 */
struct belay__gpu_left {
    struct belay__gpu_left *next;
    uint32_t count;
    int fds[]; /* as many as the pool had slots, at most */
};

/* A child would keep the locks after its parent's death. So it closes them
 * first of all; those are copies, and the parent's stay locked.
 */
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct belay__gpu_locks *registry;
static struct belay__gpu_left *all_left;

static void
before_fork(void)
{
    (void)pthread_mutex_lock(&registry_mutex);
}

static void
after_fork_parent(void)
{
    (void)pthread_mutex_unlock(&registry_mutex);
}

static void
close_if_open(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

static void
after_fork_child(void)
{
    for (const struct belay__gpu_locks *at = registry; at != NULL;
         at = at->next) {
        for (uint32_t i = 0; i < at->count; i++) {
            close_if_open(&at->slots[i].fd);
            close_if_open(&at->slots[i].want_fd);
        }
    }
    registry = NULL;
    for (struct belay__gpu_left *at = all_left; at != NULL; at = at->next) {
        for (uint32_t i = 0; i < at->count; i++) {
            close_if_open(&at->fds[i]);
        }
    }
    (void)pthread_mutex_unlock(&registry_mutex);
}

static void
watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static void
register_locks(struct belay__gpu_locks *locks)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, watch_forks);
    (void)pthread_mutex_lock(&registry_mutex);
    locks->next = registry;
    locks->link = &registry;
    if (registry != NULL) {
        registry->link = &locks->next;
    }
    registry = locks;
    (void)pthread_mutex_unlock(&registry_mutex);
}

static void
unregister_locks(struct belay__gpu_locks *locks)
{
    (void)pthread_mutex_lock(&registry_mutex);
    *locks->link = locks->next;
    if (locks->next != NULL) {
        locks->next->link = locks->link;
    }
    (void)pthread_mutex_unlock(&registry_mutex);
}

/* Its owner is the process from now on. */
static void
leave_file(struct belay__gpu_left *left, int *fd)
{
    (void)pthread_mutex_lock(&registry_mutex);
    if (left->count == 0) {
        left->next = all_left;
        all_left = left;
    }
    left->fds[left->count++] = *fd;
    *fd = -1;
    (void)pthread_mutex_unlock(&registry_mutex);
}

/* ---- files ---- */

/* What another user could misuse does not get into the name. */
static void
file_name(const char *uid, uint32_t bit, const char *kind, char *ret)
{
    char safe[64];
    size_t len = 0;

    for (; uid[len] != '\0' && len < sizeof(safe) - 1; len++) {
        safe[len] =
            (char)(isalnum((unsigned char)uid[len]) != 0 ? uid[len] : '-');
    }
    safe[len] = '\0';
    (void)snprintf(ret, FILE_NAME_MAX, "belay-gpu-%s-%u.%s", safe, bit, kind);
}

/* One call of open(); a file descriptor, or a code. */
static int
open_once(int folder_fd, const char *name, int flags)
{
    const int fd = openat(folder_fd, name,
        flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0666);

    return fd >= 0 ? fd : -errno;
}

/* Not a folder, a link or a pipe that lies in its place. */
static int
check_file(int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0) {
        return -errno;
    }
    return S_ISREG(status.st_mode) ? 0 : BELAY_EINVAL;
}

/* As it is there, or new and open to every user; a code without it. */
static int
open_file(int folder_fd, const char *name)
{
    int fd = -EINTR;
    int code;

    for (int i = 0; i < INTERRUPTIONS && (fd == -EINTR || fd == -EEXIST); i++) {
        fd = open_once(folder_fd, name, 0);
        if (fd == -ENOENT) {
            fd = open_once(folder_fd, name, O_CREAT | O_EXCL);
            if (fd >= 0) {
                (void)fchmod(fd, 0666); /* whatever the umask says */
            }
        }
    }
    if (fd < 0) {
        return fd;
    }
    code = check_file(fd);
    if (code < 0) {
        (void)close(fd);
        return code;
    }
    return fd;
}

static int
open_folder(const char *folder)
{
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 ? fd : -errno;
}

/* Both files of a slot, if they are not open yet. */
static int
open_files(struct belay__gpu_locks *locks, const struct belay__gpu_slot *slot)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];
    char name[FILE_NAME_MAX];
    int folder_fd;

    if (lock->fd >= 0 && lock->want_fd >= 0) {
        return 0;
    }
    folder_fd = open_folder(locks->folder);
    if (folder_fd < 0) {
        return folder_fd;
    }
    (void)pthread_mutex_lock(&registry_mutex); /* no fork in between */
    if (lock->fd < 0) {
        file_name(slot->device->info.uid, slot->bit, "lock", name);
        lock->fd = open_file(folder_fd, name);
    }
    if (lock->want_fd < 0) {
        file_name(slot->device->info.uid, slot->bit, "want", name);
        lock->want_fd = open_file(folder_fd, name);
    }
    (void)pthread_mutex_unlock(&registry_mutex);
    (void)close(folder_fd);
    return lock->fd >= 0 && lock->want_fd >= 0 ? 0 : BELAY_ENOENT;
}

static void
close_file(int *fd)
{
    (void)pthread_mutex_lock(&registry_mutex);
    close_if_open(fd);
    (void)pthread_mutex_unlock(&registry_mutex);
}

/* True: done. False: somebody else has it, or it cannot be. */
static bool
try_flock(int fd, int operation)
{
    int code = -1;

    for (int i = 0; i < INTERRUPTIONS; i++) {
        code = flock(fd, operation | LOCK_NB);
        if (code == 0 || errno != EINTR) {
            break;
        }
    }
    return code == 0;
}

void
belay__gpu_lock_path(const struct belay__gpu_locks *locks,
    const struct belay__gpu_slot *slot, char *ret, size_t size)
{
    char name[FILE_NAME_MAX];

    file_name(slot->device->info.uid, slot->bit, "lock", name);
    (void)snprintf(ret, size, "%s/%s", locks->folder, name);
}

/* ---- one lock ---- */

bool
belay__gpu_lock_try(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot, int64_t now)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    if (lock->held) {
        return true;
    }
    if (open_files(locks, slot) < 0 || !try_flock(lock->fd, LOCK_EX)) {
        return false;
    }
    lock->held = true;
    lock->since_ns = now;
    return true;
}

/* Each who waits has a shared lock on the second file. */
static bool
is_wanted(const struct belay__gpu_lock *lock)
{
    if (!try_flock(lock->want_fd, LOCK_EX)) {
        return true;
    }
    (void)try_flock(lock->want_fd, LOCK_UN);
    return false;
}

/* Unlocked first, and then a look at who waits: one who begins to wait says so
 * and then tries, so one of the two sees the other. Closing wakes them.
 */
void
belay__gpu_lock_give_back(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    (void)try_flock(lock->fd, LOCK_UN);
    lock->held = false;
    lock->for_reset = false;
    if (is_wanted(lock)) {
        close_file(&lock->fd);
    }
}

void
belay__gpu_lock_want(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot, bool want)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    if (want && !lock->wanted && open_files(locks, slot) == 0) {
        lock->wanted = try_flock(lock->want_fd, LOCK_SH);
    } else if (!want && lock->wanted) {
        (void)try_flock(lock->want_fd, LOCK_UN);
        lock->wanted = false;
    }
}

/* ---- for grants ---- */

bool
belay__gpu_locks_take_all(
    belay_gpu_pool *pool, struct belay__gpu_slot *const *slots, uint32_t count)
{
    struct belay__gpu_locks *locks = pool->locks;
    const int64_t now = belay__gpu_now(pool);
    uint32_t taken = 0;

    while (taken < count) {
        locks->idle -= (uint32_t)locks->slots[slots[taken]->index].held;
        if (!belay__gpu_lock_try(locks, slots[taken], now)) {
            break;
        }
        taken++;
    }
    if (taken == count) {
        return true;
    }
    locks->idle += taken; /* given back when the turn is over */
    belay__gpu_slot_is_foreign(slots[taken], now);
    return false;
}

/* Our own would take it again in this turn, for ever, and a stranger never
 * get in: so it goes to those who wait elsewhere first.
 */
bool
belay__gpu_lock_keep(struct belay__gpu_slot *slot, int64_t now)
{
    belay_gpu_pool *pool = slot->pool;
    struct belay__gpu_locks *locks = pool->locks;
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    if (!lock->held) {
        return true;
    }
    if (pool->waiting == 0 || now - lock->since_ns < pool->opts.lock_keep.ns
        || !is_wanted(lock)) {
        lock->for_reset = false;
        locks->idle++;
        return true;
    }
    belay__gpu_lock_give_back(locks, slot);
    lock->not_before_ns = now + PAUSE_NS;
    return false;
}

void
belay__gpu_lock_taken_out(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    if (locks != NULL && locks->slots[slot->index].held) {
        locks->slots[slot->index].for_reset = true;
        locks->idle--;
    }
}

bool
belay__gpu_lock_for_reset(struct belay__gpu_slot *slot, int64_t now)
{
    struct belay__gpu_locks *locks = slot->pool->locks;
    struct belay__gpu_lock *lock;

    if (locks == NULL || locks->slots[slot->index].held) {
        return true;
    }
    lock = &locks->slots[slot->index];
    lock->for_reset = belay__gpu_lock_try(locks, slot, now);
    if (lock->for_reset && lock->foreign) {
        belay__gpu_lock_was_foreign(slot);
    } else if (!lock->for_reset && !lock->foreign) {
        belay__gpu_lock_is_foreign(slot);
    }
    return lock->for_reset;
}

void
belay__gpu_lock_after_reset(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    if (locks != NULL && locks->slots[slot->index].for_reset) {
        belay__gpu_lock_give_back(locks, slot);
    } else if (belay__gpu_lock_is_sought(slot)) {
        belay__gpu_lock_was_foreign(slot);
    }
}

void
belay__gpu_lock_leave(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    if (locks != NULL && locks->slots[slot->index].held) {
        leave_file(locks->left, &locks->slots[slot->index].fd);
    }
}

/* Who had it before us may have been killed, and its driver may need a moment
 * to give back its memory (G42): 236 ms at most on an H200.
 */
uint64_t
belay__gpu_lock_patience_ns(const struct belay__gpu_slot *slot)
{
    const struct belay__gpu_locks *locks = slot->pool->locks;
    int64_t held;

    if (locks == NULL) {
        return 0;
    }
    held = belay__gpu_now(slot->pool) - locks->slots[slot->index].since_ns;
    return held < PATIENCE_NS ? (uint64_t)(PATIENCE_NS - held) : 0;
}

/* ---- all of them ---- */

const char *
belay__gpu_locks_check(const struct belay_gpu_pool_opts *opts)
{
    if (opts->lock_folder != NULL
        && strlen(opts->lock_folder) > BELAY__GPU_LOCK_FOLDER_MAX) {
        return "lock_folder is longer than 255 bytes";
    }
    if (opts->lock_folder != NULL && opts->lock_folder[0] == '\0') {
        return "lock_folder is empty";
    }
    return opts->lock_keep.ns < 0 ? "lock_keep is negative" : NULL;
}

/* The same one for every process and user of this system. */
static const char *
folder_of(const struct belay_gpu_pool_opts *opts)
{
    struct stat status;

    if (opts->lock_folder != NULL) {
        return opts->lock_folder;
    }
    return stat(folders[0], &status) == 0 && S_ISDIR(status.st_mode)
               ? folders[0]
               : folders[1];
}

/* May the files of a slot be had? 0, or why not, and which one in `ret_name`.
 * Makes none.
 */
static int
try_files(int folder_fd, const char *uid, uint32_t bit, char *ret_name)
{
    static const char *const kinds[] = {"lock", "want"};
    int fd;
    int code = 0;

    for (int i = 0; i < 2 && code == 0; i++) {
        file_name(uid, bit, kinds[i], ret_name);
        fd = open_once(folder_fd, ret_name, 0);
        if (fd >= 0) {
            code = check_file(fd);
            (void)close(fd);
        } else if (fd != -ENOENT) {
            code = fd;
        } else if (faccessat(folder_fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
            code = -errno;
        }
    }
    return code;
}

static uint32_t
slots_of(const struct belay_gpu_pool_opts *opts,
    const struct belay__gpu_devinfo *info)
{
    const uint32_t slots = opts->slots != 0 ? opts->slots : info->slots;

    return slots > 0 && slots <= BELAY_GPU_SLOTS_MAX ? slots : 1;
}

static int
try_device(int folder_fd, const struct belay_gpu_pool_opts *opts,
    const struct belay__gpu_devinfo *info, char *ret_name)
{
    int code = 0;

    for (uint32_t i = 0; i < slots_of(opts, info) && code == 0; i++) {
        code = try_files(folder_fd, info->uid, i, ret_name);
    }
    return code;
}

static void BELAY_PRINTF(2, 3)
    add_line(struct belay__gpu_found *found, const char *format, ...)
{
    size_t len = strlen(found->note);
    va_list args;

    if (len > 0 && len < sizeof(found->note) - 1) {
        found->note[len++] = '\n';
        found->note[len] = '\0';
    }
    va_start(args, format);
    (void)vsnprintf(found->note + len, sizeof(found->note) - len, format, args);
    va_end(args);
}

int
belay__gpu_locks_filter(
    const struct belay_gpu_pool_opts *opts, struct belay__gpu_found *found)
{
    const char *folder = folder_of(opts);
    char name[FILE_NAME_MAX];
    const int folder_fd = open_folder(folder);
    uint32_t kept = 0;
    int code = 0;

    if (folder_fd < 0) {
        add_line(found, "lock_folder %s: %s", folder, uv_strerror(folder_fd));
        return folder_fd;
    }
    for (uint32_t i = 0; i < found->count; i++) {
        code = try_device(folder_fd, opts, &found->infos[i], name);
        if (code == 0) {
            found->infos[kept++] = found->infos[i];
        } else {
            add_line(found, "%s %s: its lock %s/%s: %s", found->driver->name,
                found->infos[i].name, folder, name, uv_strerror(code));
        }
    }
    (void)close(folder_fd);
    found->count = kept;
    return kept > 0 ? 0 : code;
}

int
belay__gpu_locks_open(
    belay_gpu_pool *pool, const struct belay_gpu_pool_opts *opts)
{
    struct belay__memory *memory = pool->runtime->memory;
    struct belay__gpu_locks *locks = belay__alloc_zero(memory, sizeof(*locks));

    if (locks == NULL) {
        return BELAY_ENOMEM;
    }
    pool->locks = locks;
    locks->pool = pool;
    locks->inotify = -1;
    locks->random = (uv_hrtime() ^ (uint64_t)getpid() << 32) | 1;
    (void)snprintf(locks->folder, sizeof(locks->folder), "%s", folder_of(opts));
    locks->slots =
        belay__alloc_zero(memory, pool->slot_count * sizeof(*locks->slots));
    locks->count = locks->slots != NULL ? pool->slot_count : 0;
    for (uint32_t i = 0; i < locks->count; i++) {
        locks->slots[i] =
            (struct belay__gpu_lock){.fd = -1, .want_fd = -1, .watch = -1};
    }
    locks->left = calloc(1,
        sizeof(*locks->left) + pool->slot_count * sizeof(locks->left->fds[0]));
    register_locks(locks);
    return locks->slots != NULL && locks->left != NULL
               ? belay__gpu_locks_timer_init(locks)
               : BELAY_ENOMEM;
}

void
belay__gpu_locks_free(struct belay__gpu_locks *locks)
{
    struct belay__memory *memory;

    if (locks == NULL) {
        return;
    }
    memory = locks->pool->runtime->memory;
    unregister_locks(locks);
    for (uint32_t i = 0; i < locks->count; i++) {
        close_if_open(&locks->slots[i].fd);
        close_if_open(&locks->slots[i].want_fd);
    }
    if (locks->left != NULL && locks->left->count == 0) {
        free(locks->left);
    }
    close_if_open(&locks->inotify);
    belay__timer_fini(locks->pool->runtime, &locks->timer);
    belay__free(memory, locks->slots, locks->count * sizeof(*locks->slots));
    belay__free(memory, locks, sizeof(*locks));
}
