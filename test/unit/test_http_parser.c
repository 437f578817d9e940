/* test_http_parser.c - the same request, however the reads cut it. */
#include "llm/http/parser.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

TestSuite(
    http_parser, .init = open_memory, .fini = close_memory, .timeout = 20);

#define BODY_MAX 64

/* A request, what follows it, and what it should look like. */
struct sample {
    const char *bytes;
    const char *rest;
    const char *shown; /* method target [name=value]… body, and flags */
};

static const struct sample samples[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HT", "GET / [Host=a] keep"},
    {"\r\nPOST /x?y=z HTTP/1.1\r\nhost:b\r\nContent-Length: 3\r\n\r\nabc",
        "abc", "POST /x?y=z [host=b] [Content-Length=3] abc keep"},
    {"PUT /p HTTP/1.1\r\nHost: \t c d \t\r\nEmpty:\r\n"
     "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
     "1\r\nx\r\n3;ext=1\r\nyzw\r\n0\r\nTrailer: t\r\n\r\n",
        "",
        "PUT /p [Host=c d] [Empty=] [Transfer-Encoding=chunked] "
        "[Connection=close] xyzw"},
    {"HEAD /h HTTP/1.0\r\n\r\n", "", "HEAD /h old"},
    {"POST /c HTTP/1.1\r\nHost: e\r\nExpect: 100-Continue\r\n"
     "Content-Length: 1\r\n\r\n!",
        "\r\n",
        "POST /c [Host=e] [Expect=100-Continue] [Content-Length=1] ! "
        "keep waits"},
    {"GET /u HTTP/1.1\r\nHost: f\r\nConnection: Upgrade, HTTP2-Settings\r\n"
     "Upgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
        "GET",
        "GET /u [Host=f] [Connection=Upgrade, HTTP2-Settings] "
        "[Upgrade=h2c] [HTTP2-Settings=AAA] keep"},
};

static void
show(const struct belay__parser *parser, char *ret, size_t size)
{
    const char *head = parser->head.data;
    size_t len = 0;

    len += (size_t)snprintf(
        ret, size, "%s %s", belay__parser_method(parser), head);
    for (uint32_t i = 0; i < parser->field_count; i++) {
        len += (size_t)snprintf(ret + len, size - len, " [%s=%s]",
            head + parser->fields[i].name, head + parser->fields[i].value);
    }
    if (parser->body.len > 0) {
        len += (size_t)snprintf(ret + len, size - len, " %.*s",
            (int)parser->body.len, parser->body.data);
    }
    (void)snprintf(ret + len, size - len, "%s%s%s",
        parser->keep_alive ? " keep" : "", parser->http10 ? " old" : "",
        parser->wants_continue ? " waits" : "");
}

/* Feeds a request in two portions, what follows it in the second. */
static void
feed_cut(struct belay__parser *parser, const struct sample *sample, size_t cut)
{
    char bytes[512];
    char shown[512];
    const size_t whole = strlen(sample->bytes);
    const size_t len = (size_t)snprintf(
        bytes, sizeof(bytes), "%s%s", sample->bytes, sample->rest);
    size_t used = 0;
    int code = 0;

    if (cut > 0) {
        code = belay__parser_feed(parser, bytes, cut, &used);
    }
    if (cut < whole) {
        cr_assert(eq(int, code, 0));
        code = belay__parser_feed(parser, bytes + cut, len - cut, &used);
        used += cut;
    }
    cr_assert(eq(int, code, 1));
    cr_assert(eq(sz, used, whole));
    show(parser, shown, sizeof(shown));
    cr_assert(eq(str, shown, (char *)(uintptr_t)sample->shown));
    belay__parser_next(parser);
}

Test(http_parser, gives_the_same_for_every_cut)
{
    struct belay__parser parser;

    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        for (size_t cut = 0; cut <= strlen(samples[i].bytes); cut++) {
            belay__parser_init(&parser, memory, BODY_MAX);
            feed_cut(&parser, &samples[i], cut);
            belay__parser_fini(&parser);
        }
    }
}

Test(http_parser, takes_one_request_after_the_other)
{
    struct belay__parser parser;

    belay__parser_init(&parser, memory, BODY_MAX);
    feed_cut(&parser, &samples[0], 5);
    feed_cut(&parser, &samples[1], 40);
    feed_cut(&parser, &samples[4], 0);
    feed_cut(&parser, &samples[2], 70);
    belay__parser_fini(&parser);
}

static const struct {
    const char *bytes;
    int code;
    int status;
} refused[] = {
    {"FETCH / HTTP/1.1\r\n", BELAY_EPROTO, 400},
    {"GET /\r\n\r\n", BELAY_EPROTO, 505},
    {"GET / HTTP/1.1\r\n\r\n", BELAY_EPROTO, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BELAY_EPROTO, 400},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", BELAY_EPROTO, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: \x01\r\n\r\n", BELAY_EPROTO, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\x01\r\n\r\n", BELAY_EPROTO, 400},
    {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", BELAY_EPROTO, 505},
    {"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", BELAY_EPROTO, 417},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", BELAY_EPROTO,
        400},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 65\r\n\r\n", BELAY_ETOOLARGE,
        413},
    {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        BELAY_EPROTO, 400},
    {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
     "41\r\n01234567890123456789012345678901234567890123456789"
     "012345678901234",
        BELAY_ETOOLARGE, 413},
};

Test(http_parser, refuses_what_a_server_must_refuse)
{
    struct belay__parser parser;
    size_t used;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        belay__parser_init(&parser, memory, BODY_MAX);
        cr_expect(eq(int,
                      belay__parser_feed(&parser, refused[i].bytes,
                          strlen(refused[i].bytes), &used),
                      refused[i].code),
            "%s", refused[i].bytes);
        cr_expect(
            eq(int, parser.status, refused[i].status), "%s", refused[i].bytes);
        belay__parser_fini(&parser);
    }
}

Test(http_parser, finds_fields_in_any_case)
{
    static const char bytes[] =
        "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\n\r\n";
    struct belay__parser parser;
    size_t used;

    belay__parser_init(&parser, memory, BODY_MAX);
    cr_assert(eq(
        int, belay__parser_feed(&parser, bytes, sizeof(bytes) - 1, &used), 1));
    cr_assert(strcmp(belay__parser_field(&parser, "x-ONE"), "1") == 0);
    cr_assert(belay__parser_field(&parser, "x-on") == NULL);
    cr_assert(belay__parser_field(&parser, "x-one-") == NULL);
    belay__parser_fini(&parser);
}

Test(http_parser, says_when_memory_runs_out)
{
    struct belay__parser parser;
    size_t used;
    size_t k;
    int code;

    for (k = 0; k < 20; k++) {
        belay__parser_init(&parser, memory, BODY_MAX);
        test_alloc_fail_at(k);
        code = belay__parser_feed(
            &parser, samples[1].bytes, strlen(samples[1].bytes), &used);
        belay__parser_fini(&parser);
        if (test_alloc_failures() == 0) {
            cr_assert(eq(int, code, 1));
            break;
        }
        cr_assert(eq(int, code, BELAY_ENOMEM));
        cr_assert(eq(int, parser.status, 503));
    }
    test_alloc_never_fail();
    cr_assert(gt(sz, k, 0));
    cr_assert(lt(sz, k, 20));
}
