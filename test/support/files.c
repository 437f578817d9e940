/* files.c - a folder of a test's own, and the files in it.
 *
 * What is handed out is kept in a list until the folder is closed, so that
 * tests need not free it. Plain malloc, for test_allocator is being watched.
 */
#include "test/support/files.h"

#include "test/support/alloc.h"

#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct text {
    struct text *next;
    char data[];
};

char test_folder[64];

static struct text *texts;

static void
require(bool good, const char *what, const char *name)
{
    if (!good) {
        (void)fprintf(stderr, "test files: cannot %s '%s'\n", what, name);
        abort();
    }
}

static char *
new_text(size_t size)
{
    struct text *text = malloc(sizeof(*text) + size);

    require(text != NULL, "allocate for", test_folder);
    text->next = texts;
    texts = text;
    return text->data;
}

void
test_files_open(void)
{
    (void)snprintf(test_folder, sizeof(test_folder), "/tmp/belay-test-XXXXXX");
    require(mkdtemp(test_folder) != NULL, "make", test_folder);
}

static void
remove_all(void)
{
    char *paths[] = {test_folder, NULL};
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    const FTSENT *entry;

    require(walk != NULL, "look into", test_folder);
    while ((entry = fts_read(walk)) != NULL) {
        if (entry->fts_info != FTS_D) {
            require(remove(entry->fts_accpath) == 0, "remove", entry->fts_path);
        }
    }
    (void)fts_close(walk);
}

void
test_files_close(void)
{
    struct text *text;

    (void)chmod(test_folder, 0700);
    remove_all();
    while ((text = texts) != NULL) {
        texts = text->next;
        free(text);
    }
}

void
test_files_fini(void)
{
    test_files_close();
    check_clean();
}

const char *
test_file(const char *name)
{
    const size_t size = strlen(test_folder) + strlen(name) + 2;
    char *path = new_text(size);

    (void)snprintf(path, size, "%s/%s", test_folder, name);
    return path;
}

bool
test_file_exists(const char *name)
{
    return access(test_file(name), F_OK) == 0;
}

uint64_t
test_file_size(const char *name)
{
    struct stat info;

    require(stat(test_file(name), &info) == 0, "look at", name);
    return (uint64_t)info.st_size;
}

char *
test_file_read(const char *name)
{
    FILE *file = fopen(test_file(name), "re");
    const size_t size = file != NULL ? (size_t)test_file_size(name) : 0;
    char *text = new_text(size + 1);

    text[size] = '\0';
    if (file != NULL) {
        require(fread(text, 1, size, file) == size, "read", name);
        (void)fclose(file);
    }
    return text;
}

static void
write_file(const char *name, const char *mode, const char *data, size_t len)
{
    FILE *file = fopen(test_file(name), mode);

    require(file != NULL, "open", name);
    require(fwrite(data, 1, len, file) == len, "write", name);
    require(fclose(file) == 0, "write", name);
}

void
test_file_write(const char *name, const char *text)
{
    write_file(name, "we", text, strlen(text));
}

void
test_file_append(const char *name, const char *data, size_t len)
{
    write_file(name, "ae", data, len);
}

void
test_file_fill(const char *name, char byte, size_t bytes)
{
    char *text = new_text(bytes);

    memset(text, byte, bytes);
    write_file(name, "we", text, bytes);
}

void
test_file_poke(const char *name, size_t offset, char byte)
{
    const int fd = open(test_file(name), O_WRONLY | O_CLOEXEC);

    require(fd >= 0, "open", name);
    require(pwrite(fd, &byte, 1, (off_t)offset) == 1, "write", name);
    (void)close(fd);
}

void
test_file_add_line(const char *name, const char *job, uint64_t line)
{
    char text[256];
    const int len = snprintf(text, sizeof(text),
        "{\"id\":\"batch_req_%s_%" PRIu64 "\",\"custom_id\":\"c-%" PRIu64
        "\",\"response\":{\"status_code\":200,\"request_id\":null,"
        "\"body\":{}},\"error\":null}\n",
        job, line, line);

    test_file_append(name, text, (size_t)len);
}
