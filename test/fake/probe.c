/* probe.c - plays belay-gpu-probe, badly: BELAY_FAKE_PROBE tells how. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
say(const char *text)
{
    if (write(3, text, strlen(text)) < 0) {
        _exit(9);
    }
}

static const char whole[] = "belay-gpu-probe\t0.1.0\n"
                            "device\t0\t1024\t512\t8\t4\t0\tGPU-1\tThe first\n"
                            "end\t0\t\n";

int
main(int argc, char **argv)
{
    const char *what = getenv("BELAY_FAKE_PROBE");

    (void)argv;
    if (argc != 4 || what == NULL) {
        return 9;
    }
    if (strcmp(what, "whole") == 0) {
        say(whole);
    } else if (strcmp(what, "abort") == 0) {
        say("belay-gpu-probe\t0.1.0\n");
        abort();
    } else if (strcmp(what, "hang") == 0) {
        (void)signal(SIGTERM, SIG_IGN);
        for (;;) {
            (void)pause();
        }
    } else if (strcmp(what, "half") == 0) {
        say("belay-gpu-probe\t0.1.0\ndevice\t0\t1024");
    } else if (strcmp(what, "noise") == 0) {
        for (int i = 0; i < 100000; i++) {
            say("noise\n");
        }
    } else if (strcmp(what, "hang-at-exit") == 0) {
        say(whole);
        for (;;) {
            (void)pause();
        }
    } else if (strcmp(what, "exit-7") == 0) {
        return 7;
    } else if (strcmp(what, "descriptors") == 0) {
        /* Only the report is open, and no signal is blocked. */
        sigset_t blocked;

        (void)sigprocmask(SIG_BLOCK, NULL, &blocked);
        say(whole);
        for (int fd = 4; fd < 64; fd++) {
            if (close(fd) == 0) {
                say("leaked\n");
            }
        }
        if (sigismember(&blocked, SIGTERM) != 0) {
            say("blocked\n");
        }
    } else {
        return 9;
    }
    return 0;
}
