/* writer_scene.c - a batch's writer, given lines. */
#include "test/support/writer_scene.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct belay__batch_writer writer;
const char *out_path;
const char *err_path;
const char *failed_path;

void
writer_set_up(void)
{
    open_memory();
    writer = (struct belay__batch_writer){
        .output = {.fd = -1}, .errors = {.fd = -1}};
    test_files_open();
    out_path = test_file("out");
    err_path = test_file("err");
    (void)signal(SIGXFSZ, SIG_IGN);
}

void
writer_tear_down(void)
{
    belay__batch_writer_close(&writer);
    test_files_close();
    close_memory();
}

int
open_with(const struct belay__batch_writer_opts *opts)
{
    return belay__batch_writer_open(&writer, memory, opts, &failed_path);
}

int
open_both(size_t window)
{
    return open_with(&(const struct belay__batch_writer_opts){
        .output_path = out_path,
        .errors_path = err_path,
        .window = window,
    });
}

int
put(uint64_t sequence, enum belay__batch_file file, const char *text)
{
    const size_t len = strlen(text);
    char *line = malloc(len + 1); /* in full, so that one byte more is seen */
    int code;

    memcpy(line, text, len);
    code = belay__batch_writer_put(&writer, sequence,
        &(const struct belay__batch_kind){.file = file, .status = 200}, line,
        len);
    free(line);
    return code;
}

size_t
writer_finish(bool gaps)
{
    const struct belay__batch_held *line =
        belay__batch_writer_finish(&writer, gaps);
    size_t count = 0;

    for (; line != NULL; line = line->next) {
        count++;
    }
    return count;
}

char *
writer_contents(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "r");
    size_t len = 0;

    if (file == NULL) {
        memcpy(text, "(none)", sizeof("(none)"));
        return text;
    }
    len = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[len] = '\0';
    return text;
}
