/* test_prices_block.c - prices that are there for a block: contract L49. */
#include "test/support/program.h"

#include <belay/price.h>

#include <string.h>

TestSuite(prices_block, .fini = check_clean, .timeout = 30);

struct priced {
    const char *json;
    belay_prices *prices;
    int body_code;
};

BELAY_ASYNC(priced)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_prices_open(task,
        (struct belay_slice){self->json, strlen(self->json)}, &self->prices)) {
        cr_expect(eq(ptr, belay_result(task)->value, self->prices));
        trace("in");
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_CHECK(self->body_code);
    }
    trace("behind");
    BELAY_END;
}

#define FILE_TEXT "{\"m\":{\"input_cost_per_token\":1e-06}}"

Test(prices_block, l49_prices_go_with_their_block)
{
    struct belay_result result;

    cr_expect(zero(int, RUN_RESULT(&result, priced, .json = FILE_TEXT)));
    cr_expect(eq(int,
        RUN_RESULT(&result, priced, .json = FILE_TEXT, .body_code = BELAY_EIO),
        BELAY_EIO));
    belay_error_unref(result.error);
    expect_trace("in; behind; in");
}

Test(prices_block, l49_a_bad_file_is_refused_in_words)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, priced,
            .json = "{\"m\":{\"input_cost_per_token\":\"much\"}}"),
        BELAY_EINVAL));
    cr_assert(result.error != NULL);
    cr_expect_str_eq(belay_error_message(result.error),
        "prices, byte 29: a price that is not a number");
    belay_error_unref(result.error);
    expect_trace("");
}
