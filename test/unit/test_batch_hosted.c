/* test_batch_hosted.c - what OpenAI's own batches would refuse. */
#include "llm/batch/hosted.h"

#include "test/support/files.h"
#include "test/support/memory.h"
#include "test/support/program.h"

#include <string.h>

static struct belay__hosted hosted;
static struct belay__batch_opts opts;
static struct belay__buffer text;

static void
set_up(void)
{
    test_files_open();
    open_memory();
    belay__buffer_init(&text, memory, 4096);
    opts = (struct belay__batch_opts){.input_path = test_file("in")};
    hosted = (struct belay__hosted){0};
}

static void
tear_down(void)
{
    belay__buffer_fini(&text);
    test_files_close();
    close_memory();
}

TestSuite(batch_hosted, .init = set_up, .fini = tear_down, .timeout = 60);

struct look {
    int unused;
};

BELAY_ASYNC(look)
{
    BELAY_BEGIN;
    (void)self;
    BELAY_AWAIT(belay__batch_check_hosted(task, &opts, &hosted));
    BELAY_END;
}

static int
check(const char *lines)
{
    struct belay_result ended = {0};
    int code;

    test_file_write("in", lines);
    hosted = (struct belay__hosted){0};
    code = program_run(&(const struct program){.function = &look,
                           .arguments = &(const struct look){0}},
        &ended);
    belay_error_unref(ended.error);
    return code;
}

static char *
said(void)
{
    belay__buffer_clear(&text);
    cr_assert(eq(int, belay__hosted_text(&text, &hosted), 0));
    cr_assert(eq(int, belay__buffer_append(&text, "", 1), 0));
    return text.data;
}

#define LINE(id_, url_, model_)                                      \
    "{\"custom_id\":\"" id_ "\",\"method\":\"POST\",\"url\":\"" url_ \
    "\",\"body\":{\"model\":\"" model_ "\"}}\n"
#define CHAT "/v1/chat/completions"
#define expect_said(wanted) \
    cr_expect(eq(str, said(), (char *)(uintptr_t)(wanted)))

Test(batch_hosted, b1_of_a_file_that_they_take_nothing_is_said)
{
    cr_expect(
        eq(int, check(LINE("a", CHAT, "m") "\n" LINE("b", CHAT, "m")), 0));
    cr_expect(eq(u64, hosted.lines, 2));
    cr_expect(eq(u64, hosted.bytes, test_file_size("in") - 1));
    expect_said("");
}

Test(batch_hosted, b1_b2_what_is_refused_is_named_by_its_code)
{
    cr_expect(eq(int,
        check("no JSON\n" LINE("a", CHAT, "m") LINE("b", CHAT, "n") LINE(
            "c", "/v1/messages", "m") LINE("d", "/v1/embeddings", "m")),
        0));
    expect_said("1 lines are not valid (--strict)\n"
                "1 lines are for a URL that is not served (unsupported_url)\n"
                "2 lines have another URL than '/v1/chat/completions' "
                "(url_mismatch)\n"
                "1 lines have another model than 'm' (model_mismatch)\n");
    opts.model = "m";
    cr_expect(eq(int, check(LINE("a", CHAT, "m") LINE("b", CHAT, "n")), 0));
    expect_said("");
}

Test(batch_hosted, b1_b2_an_empty_file)
{
    cr_expect(eq(int, check("\n  \n"), 0));
    expect_said("no request is in the file (empty_file)\n");
}

Test(batch_hosted, b1_b2_limits_of_lines_and_bytes)
{
    hosted.lines = 50000;
    hosted.bytes = 200000000;
    expect_said("");
    hosted.lines++;
    hosted.bytes++;
    expect_said("50001 requests, of which 50000 are taken (too_many_tasks)\n"
                "200000001 bytes, of which 200000000 are taken "
                "(file_too_large)\n");
}

Test(batch_hosted, b1_what_is_no_file_cannot_be_looked_at_first)
{
    opts.input_path = "-";
    cr_expect(eq(int, check(""), BELAY_EINVAL));
    opts.input_path = test_file("not-there");
    cr_expect(eq(int, check(""), BELAY_ENOENT));
}
