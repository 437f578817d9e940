/* resume_scene.c - a batch's files, and the state that is read back from them.
 */
#include "test/support/resume_scene.h"

#include <stdio.h>

struct belay__batch_state state;

void
resume_set_up(void)
{
    open_memory();
    (void)belay__batch_state_none(&state, memory);
    (void)snprintf(state.job, sizeof(state.job), "%s", JOB);
    state.lines_max = 1000000;
    test_files_open();
}

void
resume_tear_down(void)
{
    belay__batch_state_close(&state);
    test_files_close();
    close_memory();
}

void
forget(void)
{
    belay__batch_state_close(&state);
    (void)belay__batch_state_none(&state, memory);
    (void)snprintf(state.job, sizeof(state.job), "%s", JOB);
    state.lines_max = 1000000;
}

uint64_t
read_output(void)
{
    forget();
    cr_assert(
        eq(int, belay__resume_output(&state, test_file("out"), false), 0));
    return state.done.count;
}

void
add_lines(uint64_t first, uint64_t last)
{
    for (uint64_t line = first; line <= last; line++) {
        test_file_add_line("out", JOB, line);
    }
}
