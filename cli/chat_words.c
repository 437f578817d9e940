/* chat_words.c - what a line that begins with a slash does. */
#include "cli/chat.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct word {
    struct belay__chat *chat;
    const char *value; /* behind the word; "" if there is nothing */
};

/* ---- words that are done at once ---- */

static void
say_help(void)
{
    (void)fputs("/cost          what this conversation has used, and cost\n"
                "/model [NAME]  show the model, or ask another one from now "
                "on\n"
                "/system [TEXT] the same with the system text; \"-\" for none\n"
                "/reset         forget what was said\n"
                "/save FILE     keep the conversation\n"
                "/load FILE     go on with one that was kept\n"
                "/help          this\n"
                "/quit          leave, as Ctrl-D does\n"
                "//...          say something that begins with a slash\n"
                "...\\           a turn that goes on with the next line\n",
        stderr);
}

/* Amounts that are not known are no zero (L52). */
static void
say_cost(const struct belay__chat *chat)
{
    struct belay_llm_session_stats stats;
    const struct belay_llm_usage *usage;
    char cost[BELAY_MONEY_TEXT_BYTES];

    belay_llm_session_get_stats(chat->session, &stats);
    usage = &stats.ledger.usage;
    (void)fprintf(stderr,
        "%" PRIu64 " requests, %" PRId64 " tokens in (%" PRId64
        " from the cache), %" PRId64 " out\n",
        stats.ledger.attempts, usage->in_total, usage->in_cache_read,
        usage->out_total);
    if (stats.ledger.unknown > 0) {
        (void)fprintf(stderr,
            "%" PRIu64 " of them did not tell what they have used\n",
            stats.ledger.unknown);
    }
    if (chat->options->prices_path == NULL) {
        (void)fprintf(stderr, "cost not known: no prices (--prices)\n");
        return;
    }
    (void)belay_money_format(stats.ledger.cost.amount, cost);
    (void)fprintf(
        stderr, "%s$%s\n", stats.ledger.cost.at_least ? "at least " : "", cost);
}

static void
say_code(int code)
{
    if (code < 0) {
        (void)fprintf(stderr, "belay chat: %s\n", belay_code_text(code));
    }
}

static void
do_model(struct belay__chat *chat, const char *value)
{
    char model[BELAY__CHAT_MODEL_BYTES];

    if (value[0] != '\0') {
        say_code(belay_llm_session_set_model(chat->session, value));
    }
    (void)fprintf(stderr, "model: %s\n", belay__chat_model(chat, model));
}

static void
do_system(struct belay__chat *chat, const char *value)
{
    const size_t len = strcmp(value, "-") == 0 ? 0 : strlen(value);
    struct belay_llm_session_stats stats;

    if (value[0] != '\0') {
        say_code(belay_llm_session_set_system(
            chat->session, (struct belay_slice){value, len}));
    }
    belay_llm_session_get_stats(chat->session, &stats);
    (void)fputs("system: ", stderr);
    belay__chat_say(stats.system);
    (void)fputc('\n', stderr);
}

/* True if the word is one of these. */
static bool
do_now(struct belay__chat *chat, const char *word, const char *value)
{
    if (strcmp(word, "/help") == 0) {
        say_help();
    } else if (strcmp(word, "/cost") == 0) {
        say_cost(chat);
    } else if (strcmp(word, "/model") == 0) {
        do_model(chat, value);
    } else if (strcmp(word, "/system") == 0) {
        do_system(chat, value);
    } else if (strcmp(word, "/reset") == 0) {
        say_code(belay_llm_session_clear(chat->session));
    } else if (strcmp(word, "/quit") == 0) {
        chat->leave = true;
    } else {
        return false;
    }
    return true;
}

/* ---- words that wait for the disk ---- */

struct keep {
    struct belay__chat *chat;
    const char *path;
    bool load;
    struct belay_llm_loaded loaded;
};

static belay_next
keep_begin(belay_task *task, struct keep *self)
{
    return self->load
               ? belay_llm_session_load(task, self->chat->session, self->path,
                   BELAY_LLM_REPAIR_RESULTS, &self->loaded)
               : belay_llm_session_save(task, self->chat->session, self->path);
}

BELAY_ASYNC(keep)
{
    struct belay_llm_session_stats stats;

    BELAY_BEGIN;
    BELAY_TRY(keep_begin(task, self));
    if (belay_result(task)->cancelled) {
        return belay_pass(task);
    }
    if (belay_result(task)->code < 0) {
        belay__chat_complain(
            self->chat, BELAY__CHAT_NO_FILE, belay_result(task));
        BELAY_RETURN(NULL);
    }
    belay_llm_session_get_stats(self->chat->session, &stats);
    (void)fprintf(stderr, "%s: %zu messages\n", self->load ? "loaded" : "saved",
        stats.messages);
    BELAY_END;
}

/* ---- all of them ---- */

/* Cuts the line behind the word; what follows it, without blanks around. */
static char *
cut_value(char *line)
{
    char *value = line + strcspn(line, " \t\r");
    char *end = line + strlen(line);

    while (end > value && strchr(" \t\r", end[-1]) != NULL) {
        *--end = '\0';
    }
    if (*value != '\0') {
        *value++ = '\0';
        value += strspn(value, " \t");
    }
    return value;
}

belay_next
belay__chat_word(belay_task *task, struct belay__chat *chat, char *line)
{
    const char *value = cut_value(line);
    const bool load = strcmp(line, "/load") == 0;

    if (load || strcmp(line, "/save") == 0) {
        if (value[0] != '\0') {
            return BELAY_CALL(keep, .chat = chat, .path = value, .load = load);
        }
        (void)fprintf(stderr, "belay chat: %s wants a FILE\n", line);
        chat->exit_code = BELAY__CHAT_BAD_USAGE;
    } else if (!do_now(chat, line, value)) {
        (void)fprintf(
            stderr, "belay chat: no such word: %s (/help lists them)\n", line);
        chat->exit_code = BELAY__CHAT_BAD_USAGE;
    }
    return belay_checkpoint(task);
}
