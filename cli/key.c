/* key.c - keys out of the environment, or a file.
 *
 * A key that is in use is in memory: ours, and that of the library that sends
 * it. What can be done is that nothing of the process outlives it: no core is
 * written, and nobody can read its environment or attach to it meanwhile (S2).
 */
#include "cli/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

/* Cores that go through a pipe do not heed the limit, but they do this. */
static void
leave_no_core(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none); /* only ever lowers it */
#ifdef __linux__
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

const char *
belay__key_take(const char *name)
{
    static char *taken; /* of the last call, for those who look for leaks */
    char *value = getenv(name);

    if (value == NULL || value[0] == '\0') {
        return NULL;
    }
    taken = strdup(value);
    if (taken == NULL) {
        return NULL;
    }
    leave_no_core();
    explicit_bzero(value, strlen(value));
    (void)unsetenv(name);
    return taken;
}

#define KEY_MAX 16384

/* NULL: `ret` has the first `*ret_len` bytes of the file. */
static const char *
read_secret(const char *path, char ret[KEY_MAX], size_t *ret_len)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const char *why = NULL;
    struct stat status;
    ssize_t count = 1;

    *ret_len = 0;
    if (fd < 0) {
        return strerror(errno);
    }
    if (fstat(fd, &status) < 0) {
        why = strerror(errno);
    } else if (S_ISREG(status.st_mode)
               && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        why = "others than its owner have a right to it (chmod 600)";
    }
    while (why == NULL && count > 0 && *ret_len < KEY_MAX) {
        count = read(fd, ret + *ret_len, KEY_MAX - *ret_len);
        if (count > 0) {
            *ret_len += (size_t)count;
        } else if (count < 0 && errno == EINTR) {
            count = 1;
        } else if (count < 0) {
            why = strerror(errno);
        }
    }
    (void)close(fd);
    return why;
}

const char *
belay__key_read(const char *word, const char *path)
{
    static char bytes[KEY_MAX + 1];
    size_t len;
    const char *why = read_secret(path, bytes, &len);

    bytes[len] = '\0';
    bytes[strcspn(bytes, "\r\n")] = '\0';
    if (why == NULL && bytes[0] == '\0') {
        why = "there is no key in it";
    }
    if (why != NULL) {
        explicit_bzero(bytes, sizeof(bytes));
        (void)fprintf(
            stderr, "belay %s: --api-key-file: '%s': %s\n", word, path, why);
        return NULL;
    }
    leave_no_core();
    return bytes;
}

bool
belay__key_on_line(const char *word, int argc, char **argv)
{
    static const char name[] = "--api-key-env";

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const size_t len = strcspn(argv[i], "=");

        if (len > 4 && len < sizeof(name) - 1
            && strncmp(argv[i], name, len) == 0) {
            (void)fprintf(stderr,
                "belay %s: a key on the command line can be seen by "
                "everybody; --api-key-env names the variable that holds it, "
                "--api-key-file the file\n",
                word);
            return true;
        }
    }
    return false;
}
