/* gpu_locks.h - a folder of lock files, and the other process.
 *
 * A lock belongs to an open file, so the test is another process as far as the
 * kernel can tell. In front of libc's flock() there is one that fails on wish.
 */
#ifndef TEST_SUPPORT_GPU_LOCKS_H
#define TEST_SUPPORT_GPU_LOCKS_H

#include "test/support/files.h"
#include "test/support/gpu_crowd.h"

/* For .init, with test_files_fini(). */
void lock_folder_make(void);

/* Of the next calls of flock() so many are interrupted … */
extern int lock_interruptions;
/* … and of the next shared locks so many meet another's. */
extern int lock_collisions;

#define LOCK_SIM "sim:seed=7,devices=1,slots=1"

/* Of a struct gpu_crowd: a pool with locks in the folder. */
#define EXCLUSIVE(devices_) \
    .no_model = true,       \
    .opts = {               \
        .devices = (devices_), .exclusive = true, .lock_folder = test_folder}

/* "<folder>/belay-gpu-<device>-<slot>.<kind>" of such a pool's device. */
const char *lock_path(int device, int slot, const char *kind);
/* Opens it, or makes it. */
int lock_file_open(const char *path);
bool lock_try(int fd);
/* A lock that another process has from now on. */
int lock_foreign(int device, int slot);
/* Closes it, if it is open, and makes it -1; the second at the end of a block.
 */
void lock_file_close(int *fd);
belay_next lock_file_closing(belay_task *task, int *fd);
bool is_locked(int device, int slot, const char *kind);

/* For .inside of a job: traces whether the first slot's lock is taken. */
extern const belay_function look_at_lock;

#endif
