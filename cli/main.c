/* main.c - `belay WORD …`: finds the word and hands over. */
#include "cli/commands.h"

#include <belay/base.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2

struct word {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *purpose;
};

static const struct word words[] = {
    {"batch", belay__cmd_batch,
        "send a file of requests, write a file of replies"},
    {"chat", belay__cmd_chat, "talk with a model"},
    {"doctor", belay__cmd_doctor,
        "tell what is here, and what is wrong with it"},
#if BELAY_CLI_GPU
    {"gpu", belay__cmd_gpu, "list GPUs; show how tasks share them"},
#endif
    {"log", belay__cmd_log, "show what a recorder has written"},
    {"sim", belay__cmd_sim, "a simulated model server, to test against"},
};

#define WORDS (sizeof(words) / sizeof(words[0]))

static void
print_usage(FILE *out)
{
    (void)fprintf(out, "usage: belay WORD [option...]\n"
                       "       belay --help | --version\n\nwords:\n");
    for (size_t i = 0; i < WORDS; i++) {
        (void)fprintf(out, "  %-8s %s\n", words[i].name, words[i].purpose);
    }
    (void)fprintf(out, "\n`belay WORD --help` tells about one of them.\n");
}

static const struct word *
find_word(const char *name)
{
    for (size_t i = 0; i < WORDS; i++) {
        if (strcmp(words[i].name, name) == 0) {
            return &words[i];
        }
    }
    return NULL;
}

/* What was printed is not there before it is flushed. */
static int
end_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "belay: cannot write to the output\n");
        return 1;
    }
    return 0;
}

/* What is opened later must not take the place of one that was closed. */
static bool
open_standard_files(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

int
main(int argc, char **argv)
{
    const struct word *word;

    if (!open_standard_files()) {
        return 1;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0
        || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return end_output();
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("belay %s\n", belay_version());
        return end_output();
    }
    word = find_word(argv[1]);
    if (word == NULL) {
        (void)fprintf(stderr,
            "belay: no such word: '%s' (belay --help lists them)\n", argv[1]);
        return EXIT_USAGE;
    }
    return word->run(argc - 1, argv + 1);
}
