/* chat_options.h - the command line of `belay chat` (private). */
#ifndef BELAY_CLI_CHAT_OPTIONS_H
#define BELAY_CLI_CHAT_OPTIONS_H

#include <belay/llm_chat.h>
#include <belay/price.h>

/* Texts are argv's and the environment's. */
struct belay__chat_options {
    const char *prompt; /* NULL: none was given; "-": standard input */
    bool interactive;   /* a conversation also when it is no terminal */
    bool stream;
    bool raw;
    bool sim;
    const char *model;  /* NULL: that of the session's file */
    const char *system; /* NULL: none, or that of the file */
    const char *session_path;
    const char *prices_path;
    const char *record_path;
    belay_money budget;
    enum belay_llm_format format;
    int64_t max_tokens;
    double temperature;
    bool has_temperature;
    belay_duration timeout; /* of a turn; 0: none */
    const char *base_url;
    const char *key_env;
    const char *key_path; /* or NULL */
    const char *api_key;
    const char *ca_file;
    bool allow_http;
    bool insecure;
    bool no_proxy;
};

enum belay__chat_parsed {
    BELAY__CHAT_PARSED_RUN,
    BELAY__CHAT_PARSED_HELP,  /* it was shown: exit 0 */
    BELAY__CHAT_PARSED_USAGE, /* what is wrong was said: exit 2 */
};

enum belay__chat_parsed belay__chat_options_parse(
    struct belay__chat_options *ret, int argc, char **argv);

#endif
