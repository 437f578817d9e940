/* batch_server.c - the server that `belay batch` is to ask.
 *
 * The client checks the same, but only once the files are open; a wrong option
 * should leave none behind.
 */
#include "cli/batch_server.h"

#include "cli/batch_usage.h"
#include "llm/http/transfer.h"

#include <stdio.h>
#include <string.h>

/* " 'http://…'", unless there may be a password or a key in it. */
static void
say_wrong(const char *url, const char *why, const char *then)
{
    const bool secret = strpbrk(url, "@?") != NULL;

    (void)fprintf(stderr, "belay batch: --base-url%s%s%s: %s%s\n",
        secret ? "" : " '", secret ? "" : url, secret ? "" : "'", why, then);
}

static bool
check_url(const char *text, bool allow_http)
{
    const char *why = "out of memory";
    bool tls = false;
    bool loopback = false;
    CURLU *url = NULL;
    int code = belay__http_url_parse(text, &url, &why);

    if (code < 0) {
        say_wrong(text, why, "; it begins with https:// or http://");
        return false;
    }
    code = belay__http_url_kind(url, &tls, &loopback);
    curl_url_cleanup(url);
    if (code == 0 && !tls && !loopback && !allow_http) {
        say_wrong(text, "plain http to another machine is not allowed",
            "; --allow-http allows it");
        return false;
    }
    return true;
}

bool
belay__batch_check_server(const struct belay__batch_options *options)
{
    const struct belay__batch_opts *opts = &options->batch;

    if (options->sim) {
        return true;
    }
    if (!check_url(opts->base_url, opts->allow_plain_http)) {
        return false;
    }
    if (opts->api_key == NULL && strcmp(opts->base_url, DEFAULT_BASE_URL) == 0
        && !options->quiet) {
        (void)fprintf(stderr,
            "belay batch: warning: %s is not set, and %s answers nobody "
            "without a key\n",
            options->key_env, opts->base_url);
    }
    return true;
}
