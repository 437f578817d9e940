/* gpu_locks.c - a folder of lock files, and the other process. */
#define _GNU_SOURCE /* syscall() */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test/support/gpu_locks.h"

int lock_interruptions;
int lock_collisions;

/* In front of libc's. */
int flock(int fd, int operation);

int
flock(int fd, int operation)
{
    if (lock_interruptions > 0) {
        lock_interruptions--;
        errno = EINTR;
        return -1;
    }
    if (lock_collisions > 0 && (operation & LOCK_SH) != 0) {
        lock_collisions--;
        errno = EWOULDBLOCK;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, operation);
}

void
lock_folder_make(void)
{
    gpu_may_be_lost();
    test_files_open();
}

const char *
lock_path(int device, int slot, const char *kind)
{
    static char path[160];

    (void)snprintf(path, sizeof(path),
        "%s/belay-gpu-SIM-0000000000000007-%d-%d.%s", test_folder, device, slot,
        kind);
    return path;
}

int
lock_file_open(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    cr_assert(ge(int, fd, 0));
    return fd;
}

bool
lock_try(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

int
lock_foreign(int device, int slot)
{
    const int fd = lock_file_open(lock_path(device, slot, "lock"));

    cr_assert(lock_try(fd));
    return fd;
}

void
lock_file_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

static void
close_at_end(void *fd)
{
    lock_file_close(fd);
}

belay_next
lock_file_closing(belay_task *task, int *fd)
{
    return belay_defer(task, close_at_end, fd);
}

bool
is_locked(int device, int slot, const char *kind)
{
    const int fd = lock_file_open(lock_path(device, slot, kind));
    const bool locked = !lock_try(fd);

    (void)close(fd);
    return locked;
}

static belay_next
look(belay_task *task, void *self)
{
    (void)self;
    trace(is_locked(0, 0, "lock") ? "locked" : "not locked");
    return belay_return(task, NULL);
}

const belay_function look_at_lock = {
    "look_at_lock", __FILE__, sizeof(struct gpu_inside), look, 0};
