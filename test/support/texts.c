/* texts.c - what was written, and how often something stands in it. */
#include "test/support/texts.h"

#include "test/support/program.h"

#include <stdio.h>
#include <string.h>

char *
file_text(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t len;

    cr_assert(file != NULL);
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    cr_assert(zero(int, fclose(file)));
    return text;
}

size_t
count_in(const char *text, const char *part)
{
    size_t count = 0;

    while ((text = strstr(text, part)) != NULL) {
        text += strlen(part);
        count++;
    }
    return count;
}
