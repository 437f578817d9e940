/* lock_file.c - the files whose locks are the slots'.
 *
 * They are never unlinked: who had an unlinked one open would lock nothing.
 * They are opened as they are first, since in a sticky folder the kernel
 * refuses O_CREAT for another user's file. No child of this process has one,
 * and one that is left behind is open until the process ends.
 */
#include "gpu/lock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME_MAX (sizeof("belay-gpu--63.lock") + 64)
#define INTERRUPTIONS 100 /* of one call; then it has failed */

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

/* In the list also if it fails: it is to be unregistered in any case. */
int
belay__gpu_locks_register(struct belay__gpu_locks *locks)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const size_t slots = locks->pool->slot_count;

    locks->left =
        calloc(1, sizeof(*locks->left) + slots * sizeof(locks->left->fds[0]));
    (void)pthread_once(&once, watch_forks);
    (void)pthread_mutex_lock(&registry_mutex);
    locks->next = registry;
    locks->link = &registry;
    if (registry != NULL) {
        registry->link = &locks->next;
    }
    registry = locks;
    (void)pthread_mutex_unlock(&registry_mutex);
    return locks->left != NULL ? 0 : BELAY_ENOMEM;
}

void
belay__gpu_locks_unregister(struct belay__gpu_locks *locks)
{
    (void)pthread_mutex_lock(&registry_mutex);
    *locks->link = locks->next;
    if (locks->next != NULL) {
        locks->next->link = locks->link;
    }
    (void)pthread_mutex_unlock(&registry_mutex);
    for (uint32_t i = 0; i < locks->count; i++) {
        close_if_open(&locks->slots[i].fd);
        close_if_open(&locks->slots[i].want_fd);
    }
    if (locks->left != NULL && locks->left->count == 0) {
        free(locks->left);
    }
}

void
belay__gpu_lock_leave_file(
    struct belay__gpu_locks *locks, const struct belay__gpu_slot *slot)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];
    struct belay__gpu_left *left = locks->left;

    (void)pthread_mutex_lock(&registry_mutex);
    if (left->count == 0) {
        left->next = all_left;
        all_left = left;
    }
    left->fds[left->count++] = lock->fd;
    lock->fd = -1;
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

int
belay__gpu_lock_open_files(
    struct belay__gpu_locks *locks, const struct belay__gpu_slot *slot)
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

void
belay__gpu_lock_close_file(int *fd)
{
    (void)pthread_mutex_lock(&registry_mutex);
    close_if_open(fd);
    (void)pthread_mutex_unlock(&registry_mutex);
}

void
belay__gpu_lock_path(const struct belay__gpu_locks *locks,
    const struct belay__gpu_slot *slot, char *ret, size_t size)
{
    char name[FILE_NAME_MAX];

    file_name(slot->device->info.uid, slot->bit, "lock", name);
    (void)snprintf(ret, size, "%s/%s", locks->folder, name);
}

/* ---- which files may be had ---- */

const char *
belay__gpu_lock_folder(const struct belay_gpu_pool_opts *opts)
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
    const char *folder = belay__gpu_lock_folder(opts);
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
