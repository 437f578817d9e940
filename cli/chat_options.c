/* chat_options.c - the command line of `belay chat`. */
#include "cli/chat_options.h"

#include "cli/key.h"
#include "cli/options.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_MAX_TOKENS 4096 /* the format wants some limit */

static const char usage[] =
    "usage: belay chat [option...] [PROMPT]\n"
    "\n"
    "Asks a model. With PROMPT, or standard input that is no terminal, its "
    "answer is\n"
    "printed, and that was it. Without, a conversation: type, and /help for "
    "the "
    "words\n"
    "that begin with a slash. Ctrl-C cuts an answer off; twice at the prompt, "
    "or\n"
    "Ctrl-D, leaves.\n"
    "\n"
    "  -m, --model NAME       the model (default with --sim: sim)\n"
    "  -s, --system TEXT      said to it ahead of all\n"
    "      --stream           print the answer as it comes; in a conversation "
    "that is\n"
    "                         always so\n"
    "  -i, --interactive      a conversation although standard input is no "
    "terminal:\n"
    "                         each line is a turn\n"
    "      --session FILE     go on with the conversation in FILE, if there is "
    "one, and\n"
    "                         keep this one there\n"
    "      --record FILE      write down what is asked and answered, for "
    "belay log\n"
    "      --max-tokens N     longest answer\n"
    "      --temperature T    how freely it picks its words\n"
    "      --timeout TIME     of an answer, as 30s or 5m (default: none)\n"
    "      --raw              answers byte for byte; control characters too\n"
    "\n"
    "      --format FORMAT    chat (default), responses, messages\n"
    "      --base-url URL     the server, with its /v1 but for messages "
    "(default: OpenAI,\n"
    "                         for messages Anthropic)\n"
    "      --api-key-env NAME the variable that holds the key (default: "
    "OPENAI_API_KEY,\n"
    "                         for messages ANTHROPIC_API_KEY; may be unset)\n"
    "      --api-key-file FILE  or the file that only you may read\n"
    "      --sim              a simulated server inside this program\n"
    "      --prices FILE      what tokens cost, in litellm's form\n"
    "      --budget USD       spend no more than that; wants --prices\n"
    "      --allow-http       plain http:// to other machines\n"
    "      --insecure         accept any TLS certificate\n"
    "      --ca-file FILE     trust these authorities (PEM)\n"
    "      --no-proxy         do not look at http_proxy and its kin\n"
    "  -h, --help             this text\n"
    "\n"
    "Exit codes: 0 all well; 1 no answer; 2 usage; 3 the budget does not allow "
    "it;\n"
    "4 the key or the account was refused; 5 a file or the output could not be "
    "read\n"
    "or written; 130 interrupted, 143 terminated.\n";

enum option_id {
    OPTION_STREAM = 256,
    OPTION_SESSION,
    OPTION_RECORD,
    OPTION_MAX_TOKENS,
    OPTION_TEMPERATURE,
    OPTION_TIMEOUT,
    OPTION_RAW,
    OPTION_FORMAT,
    OPTION_BASE_URL,
    OPTION_KEY_ENV,
    OPTION_KEY_FILE,
    OPTION_SIM,
    OPTION_PRICES,
    OPTION_BUDGET,
    OPTION_ALLOW_HTTP,
    OPTION_INSECURE,
    OPTION_CA_FILE,
    OPTION_NO_PROXY,
};

static const struct option options[] = {
    {"model", required_argument, NULL, 'm'},
    {"system", required_argument, NULL, 's'},
    {"stream", no_argument, NULL, OPTION_STREAM},
    {"interactive", no_argument, NULL, 'i'},
    {"session", required_argument, NULL, OPTION_SESSION},
    {"record", required_argument, NULL, OPTION_RECORD},
    {"max-tokens", required_argument, NULL, OPTION_MAX_TOKENS},
    {"temperature", required_argument, NULL, OPTION_TEMPERATURE},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"raw", no_argument, NULL, OPTION_RAW},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"base-url", required_argument, NULL, OPTION_BASE_URL},
    {"api-key-env", required_argument, NULL, OPTION_KEY_ENV},
    {"api-key-file", required_argument, NULL, OPTION_KEY_FILE},
    {"sim", no_argument, NULL, OPTION_SIM},
    {"prices", required_argument, NULL, OPTION_PRICES},
    {"budget", required_argument, NULL, OPTION_BUDGET},
    {"allow-http", no_argument, NULL, OPTION_ALLOW_HTTP},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"ca-file", required_argument, NULL, OPTION_CA_FILE},
    {"no-proxy", no_argument, NULL, OPTION_NO_PROXY},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
complain(const char *what)
{
    (void)fprintf(stderr, "belay chat: %s; see belay chat --help\n", what);
    return false;
}

static bool
refuse(const char *name, const char *wanted, const char *text)
{
    (void)fprintf(
        stderr, "belay chat: %s must be %s, not '%s'\n", name, wanted, text);
    return false;
}

static bool
set_format(struct belay__chat_options *ret, const char *text)
{
    static const char *const names[] = {"chat", "responses", "messages"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            ret->format =
                (enum belay_llm_format)(BELAY_LLM_FORMAT_CHAT + (int)i);
            return true;
        }
    }
    (void)fprintf(stderr,
        "belay chat: --format cannot be '%s'; one of chat, responses, "
        "messages\n",
        text);
    return false;
}

static bool
set_temperature(struct belay__chat_options *ret, const char *text)
{
    char *end;
    const double value = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(value) || value < 0) {
        return refuse("--temperature", "a number", text);
    }
    ret->temperature = value;
    ret->has_temperature = true;
    return true;
}

static bool
set_value(struct belay__chat_options *ret, int id, const char *text)
{
    uint64_t count = 0;

    switch (id) {
    case OPTION_MAX_TOKENS:
        if (!belay__option_count(text, 1, INT32_MAX, &count)) {
            return refuse("--max-tokens", "a number from 1", text);
        }
        ret->max_tokens = (int64_t)count;
        return true;
    case OPTION_TEMPERATURE:
        return set_temperature(ret, text);
    case OPTION_TIMEOUT:
        return (belay__option_span(text, &ret->timeout) && ret->timeout.ns > 0)
               || refuse("--timeout", "a time, as 30s or 5m", text);
    case OPTION_BUDGET:
        return (belay_money_parse(
                    (struct belay_slice){text, strlen(text)}, &ret->budget)
                       == 0
                   && ret->budget.pico > 0)
               || refuse("--budget", "an amount, as 1.50", text);
    case OPTION_FORMAT:
        return set_format(ret, text);
    default:
        return false;
    }
}

static bool
set_option(struct belay__chat_options *ret, int id, const char *text)
{
    switch (id) {
    case 'm':
        ret->model = text;
        return text[0] != '\0' || refuse("--model", "a name", text);
    case 's':
        ret->system = text;
        return true;
    case 'i':
        ret->interactive = true;
        return true;
    case OPTION_STREAM:
        ret->stream = true;
        return true;
    case OPTION_SESSION:
        ret->session_path = text;
        return true;
    case OPTION_RECORD:
        ret->record_path = text;
        return true;
    case OPTION_RAW:
        ret->raw = true;
        return true;
    case OPTION_BASE_URL:
        ret->base_url = text;
        return true;
    case OPTION_KEY_ENV:
        ret->key_env = text;
        return true;
    case OPTION_KEY_FILE:
        ret->key_path = text;
        return true;
    case OPTION_SIM:
        ret->sim = true;
        return true;
    case OPTION_PRICES:
        ret->prices_path = text;
        return true;
    case OPTION_ALLOW_HTTP:
        ret->allow_http = true;
        return true;
    case OPTION_INSECURE:
        ret->insecure = true;
        return true;
    case OPTION_CA_FILE:
        ret->ca_file = text;
        return true;
    case OPTION_NO_PROXY:
        ret->no_proxy = true;
        return true;
    default:
        return set_value(ret, id, text);
    }
}

static bool
set_server(struct belay__chat_options *ret)
{
    const bool messages = ret->format == BELAY_LLM_FORMAT_MESSAGES;

    if (messages && ret->max_tokens == 0) {
        ret->max_tokens = MESSAGES_MAX_TOKENS;
    }
    if (ret->sim) {
        return true; /* it needs no key, and shall not see one */
    }
    if (ret->base_url == NULL) {
        ret->base_url = messages ? "https://api.anthropic.com"
                                 : "https://api.openai.com/v1";
    }
    if (ret->key_env == NULL) {
        ret->key_env = messages ? "ANTHROPIC_API_KEY" : "OPENAI_API_KEY";
    }
    if (ret->key_path != NULL) {
        ret->api_key = belay__key_read("chat", ret->key_path);
        return ret->api_key != NULL;
    }
    ret->api_key = belay__key_take(ret->key_env);
    return true;
}

static bool
finish_options(struct belay__chat_options *ret)
{
    if (ret->sim && ret->base_url != NULL) {
        return complain("--sim and --base-url are two servers");
    }
    if (ret->model == NULL && ret->sim) {
        ret->model = "sim";
    }
    if (ret->model == NULL && ret->session_path == NULL) {
        return complain("no model is given (--model)");
    }
    if (ret->budget.pico > 0 && ret->prices_path == NULL) {
        return complain("--budget wants --prices");
    }
    if (ret->interactive && ret->prompt != NULL) {
        return complain("--interactive and a PROMPT");
    }
    return set_server(ret);
}

enum belay__chat_parsed
belay__chat_options_parse(
    struct belay__chat_options *ret, int argc, char **argv)
{
    int id;

    *ret = (struct belay__chat_options){.prompt = NULL};
    if (belay__key_on_line("chat", argc, argv)) {
        return BELAY__CHAT_PARSED_USAGE;
    }
    while ((id = getopt_long(argc, argv, "m:s:ih", options, NULL)) != -1) {
        if (id == 'h') {
            (void)fputs(usage, stdout);
            return BELAY__CHAT_PARSED_HELP;
        }
        if (id == '?' || !set_option(ret, id, optarg)) {
            return BELAY__CHAT_PARSED_USAGE;
        }
    }
    if (optind < argc) {
        ret->prompt = argv[optind++];
    }
    if (optind < argc) {
        (void)complain("more than one PROMPT given; quote it");
        return BELAY__CHAT_PARSED_USAGE;
    }
    return finish_options(ret) ? BELAY__CHAT_PARSED_RUN
                               : BELAY__CHAT_PARSED_USAGE;
}
