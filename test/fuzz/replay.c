/* replay.c - runs a fuzz target over its corpus, without a fuzzer.
 *
 * Each argument is a file or a folder of files. A folder without any is an
 * error: a replay that replays nothing must not pass.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20 };

static int replayed;

static int
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_MAX);
    uint8_t *exact = NULL;
    size_t size;
    int status = -1;

    if (file == NULL || data == NULL) {
        perror(path);
        goto release;
    }
    size = fread(data, 1, INPUT_MAX, file);
    /* A block of just this size, so that reading past it is seen. */
    exact = malloc(size > 0 ? size : 1);
    if (exact == NULL) {
        perror(path);
        goto release;
    }
    memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    replayed++;
    status = 0;

release:
    free(exact);
    free(data);
    if (file != NULL) {
        (void)fclose(file);
    }
    return status;
}

static int
replay_folder(const char *path, DIR *folder)
{
    const struct dirent *entry;
    char file[4096];

    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (snprintf(file, sizeof(file), "%s/%s", path, entry->d_name)
            >= (int)sizeof(file)) {
            fprintf(stderr, "%s: path is too long\n", entry->d_name);
            return -1;
        }
        if (replay_file(file) < 0) {
            return -1;
        }
    }
    return 0;
}

int
main(int argc, char **argv)
{
    int status = 0;

    for (int i = 1; i < argc && status == 0; i++) {
        DIR *folder = opendir(argv[i]);

        if (folder != NULL) {
            status = replay_folder(argv[i], folder);
            (void)closedir(folder);
        } else if (errno == ENOTDIR) {
            status = replay_file(argv[i]);
        } else {
            perror(argv[i]);
            status = -1;
        }
    }
    if (replayed == 0) {
        fprintf(stderr, "nothing was replayed\n");
        return 1;
    }
    return status == 0 ? 0 : 1;
}
