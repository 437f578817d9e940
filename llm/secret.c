/* secret.c - what no text may show.
 *
 * Rows of a recorder pass through here, so texts without a secret have to be
 * fast: one look for each secret as it is, and one for backslashes, of which
 * few can be part of one. Only around what these find is the text read letter
 * by letter, in a time that grows with the text alone: both a secret and the
 * text may be somebody's who wants it to take long.
 */
#define _GNU_SOURCE /* memmem() */
#include "llm/secret.h"

#include "llm/secret_reader.h"

#include <assert.h>
#include <string.h>

/* More bytes than a character takes there: two escapes of six letters each,
 * all of which are escapes of six letters, and so on.
 */
#define CHARACTER_MAX 512
#define NONE SIZE_MAX

/* ---- one of them ---- */

static char
letter_from_end(struct belay_slice text, size_t i)
{
    return text.data[text.len - 1 - i];
}

/* Knuth, Morris and Pratt, from the end to the beginning: where a letter does
 * not follow on so many, how many fewer may it follow on? With none that the
 * same letter would fail again, so that there are few of these steps (of the
 * order of the logarithm) even for a single letter.
 */
void
belay__secret_init(
    struct belay__secret *secret, struct belay_slice text, size_t *borders)
{
    size_t border = NONE;

    *secret = (struct belay__secret){text, borders};
    borders[0] = NONE;
    for (size_t i = 0; i < text.len; i++) {
        while (border != NONE
               && letter_from_end(text, i) != letter_from_end(text, border)) {
            border = borders[border];
        }
        border++; /* from NONE to 0 */
        borders[i + 1] = border;
        if (i + 1 < text.len
            && letter_from_end(text, i + 1) == letter_from_end(text, border)) {
            borders[i + 1] = borders[border];
        }
    }
}

/* ---- where a secret may stand ---- */

/* The bytes of a secret: nearly all that is escaped in a text are line ends and
 * quotes, which are none of them.
 */
struct alphabet {
    bool has[0x81];    /* the last is for all bytes that are not ASCII */
    bool can_be[0x81]; /* or a part of another escape */
};

/* A place of the text that cannot be passed by: the secret as it is, or an
 * escape that can be in it. begin NULL: there is none.
 */
struct spot {
    const char *begin;
    const char *end;
};

struct search {
    const struct belay__secret *secret;
    const char *text;
    const char *end;
    struct alphabet alphabet;
    struct spot plain;  /* the next one */
    struct spot escape; /* the next one */
    char *marks;        /* for the first bytes of the text */
    size_t mark_count;
    char mark;
    bool found;
    struct spot begins; /* runs of backslashes; see is_escaped() */
    struct spot ends;
};

static size_t
letter_of(int32_t unit)
{
    return unit < 0x80 ? (size_t)unit : 0x80;
}

static void
alphabet_init(struct alphabet *alphabet, struct belay_slice secret)
{
    static const char parts[] = "\\u0123456789abcdefABCDEF";
    static const char controls[] = "bfnrt";

    memset(alphabet, 0, sizeof(*alphabet));
    for (size_t i = 0; i < secret.len; i++) {
        alphabet->has[letter_of((unsigned char)secret.data[i])] = true;
    }
    memcpy(alphabet->can_be, alphabet->has, sizeof(alphabet->has));
    for (size_t i = 0; i < sizeof(parts) - 1; i++) {
        alphabet->can_be[letter_of((unsigned char)parts[i])] = true;
    }
    for (size_t i = 0; i < sizeof(controls) - 1; i++) {
        if (alphabet->has[letter_of(belay__json_short_escape(controls[i]))]) {
            alphabet->can_be[letter_of(controls[i])] = true;
        }
    }
}

/* Can what stands behind backslashes be in the secret? */
static bool
can_be_in(const struct alphabet *alphabet, const char *at, const char *end)
{
    int32_t unit;

    if (at == end || alphabet->has['\\']) {
        return at < end;
    }
    if (*at == 'u' && end - at > 4) {
        unit = belay__json_hex4(at + 1);
        return unit < 0 ? alphabet->has['u'] || memchr(at, '\\', 5) != NULL
                        : alphabet->can_be[letter_of(unit)];
    }
    return alphabet
        ->has[letter_of(belay__json_short_escape((unsigned char)*at))];
}

static struct spot
next_plain(const struct search *search, const char *from)
{
    const struct belay_slice secret = search->secret->text;
    const char *at =
        memmem(from, (size_t)(search->end - from), secret.data, secret.len);

    return (struct spot){at, at != NULL ? at + secret.len : NULL};
}

static struct spot
next_escape(const struct search *search, const char *from)
{
    const char *at;
    const char *behind = from;

    while (
        (at = memchr(behind, '\\', (size_t)(search->end - behind))) != NULL) {
        for (behind = at; behind < search->end && *behind == '\\';) {
            behind++;
        }
        if (can_be_in(&search->alphabet, behind, search->end)) {
            return (struct spot){at, behind};
        }
    }
    return (struct spot){NULL, NULL};
}

/* The first spot that does not begin before `from`. */
static struct spot
next_spot(struct search *search, const char *from)
{
    struct spot *plain = &search->plain;
    struct spot *escape = &search->escape;

    if (plain->begin != NULL && plain->begin < from) {
        *plain = next_plain(search, from);
    }
    if (escape->begin != NULL && escape->begin < from) {
        *escape = next_escape(search, from);
    }
    if (plain->begin == NULL || escape->begin == NULL) {
        return plain->begin != NULL ? *plain : *escape;
    }
    return plain->begin < escape->begin ? *plain : *escape;
}

/* ---- marking all of them ---- */

/* Does a backslash stand there that belongs to what is behind it? *run is a run
 * of backslashes that was counted before: one for all that begins, and one for
 * all that ends.
 */
static bool
is_escaped(const struct search *search, struct spot *run, const char *at)
{
    if (at == search->text || at[-1] != '\\') {
        return false;
    }
    if (run->begin == NULL || at <= run->begin || at > run->end) {
        *run = (struct spot){at, at};
        while (run->begin > search->text && run->begin[-1] == '\\') {
            run->begin--;
        }
        while (run->end < search->end && *run->end == '\\') {
            run->end++;
        }
    }
    return (at - run->begin) % 2 == 1;
}

/* Are the four digits of an escape there? */
static bool
is_hex(const struct search *search, const char *at)
{
    return search->end - at >= 4 && belay__json_hex4(at) >= 0;
}

/* Where the escape begins that `at` is in, or `at`. */
static const char *
escape_begin(struct search *search, const char *at)
{
    for (const char *u = at; u > search->text && at - u < 4;) {
        u--;
        if (*u == 'u') {
            return is_escaped(search, &search->begins, u)
                           && is_hex(search, u + 1)
                       ? u - 1
                       : at;
        }
    }
    return at;
}

/* Where the escape ends whose backslash is before `at`, or `at`. */
static const char *
escape_end(struct search *search, const char *at)
{
    if (at == search->end || (unsigned char)*at >= 0x80
        || !is_escaped(search, &search->ends, at)) {
        return at;
    }
    return at + (*at == 'u' && is_hex(search, at + 1) ? 5 : 1);
}

/* With the backslash of an escape that it begins in, and with what a backslash
 * belongs to that it ends with: what is left of a string of JSON is one.
 */
static void
mark(struct search *search, const char *begin, const char *end)
{
    size_t from;
    size_t to;

    assert(begin != NULL && end != NULL);
    to = (size_t)(escape_end(search, end) - search->text);
    begin = is_escaped(search, &search->begins, begin)
                ? begin - 1
                : escape_begin(search, begin);
    from = (size_t)(begin - search->text);

    if (to > search->mark_count) {
        to = search->mark_count;
    }
    if (from < to) {
        memset(search->marks + from, search->mark, to - from);
        search->found = true;
    }
}

/* What is known of the text from a place on, read at some depth. Lengths are in
 * bytes of what is read.
 */
struct place {
    size_t state;    /* so many of the secret's last bytes begin here */
    const char *hit; /* the next place on this way that is marked, or NULL */
    size_t distance; /* to it */
    size_t reach;    /* as far as is marked there at least */
};

static size_t
advance(const struct belay__secret *secret, size_t state, char letter)
{
    while (state != NONE
           && (state == secret->text.len
               || letter_from_end(secret->text, state) != letter)) {
        state = secret->borders[state];
    }
    return state + 1; /* from NONE to 0 */
}

/* Are all of so many bytes marked from `hit` on? */
static bool
is_covered(const struct place *place, size_t len)
{
    return place->hit != NULL && place->distance <= len
           && len - place->distance <= place->reach;
}

/* Marks the secret that begins at `at`, as far as what is marked already, and
 * says so at all places on its way that others may still come to. Those read
 * few bytes before they do, so that nearly all of a secret is read once only,
 * in how many ever it ends that do not begin on one way.
 */
static void
mark_hit(struct search *search, struct place places[static CHARACTER_MAX],
    const char *begin, const char *at, const char *end, int depth)
{
    struct belay__secret_reader reader = {at, end, false};
    const char *to = NULL; /* from there on it is marked */
    size_t left = search->secret->text.len;
    char room[4];

    while (reader.at != to) {
        const size_t len = belay__secret_next(&reader, depth, room);
        struct place *place =
            &places[(size_t)(reader.at - begin) % CHARACTER_MAX];

        left -= len < left ? len : left;
        if (left == 0) {
            to = reader.at;
        } else if (reader.at - at < CHARACTER_MAX) {
            const bool covered = is_covered(place, left);

            to = covered ? place->hit : NULL;
            place->reach = covered ? place->distance + place->reach : left;
            place->hit = reader.at;
            place->distance = 0;
        } else if (to != NULL) {
            break;
        }
    }
    mark(search, at, to);
}

/* Wherever one begins to read, some way on it is read as from elsewhere, and
 * the ways do not part again. So from the end to the beginning each place needs
 * no more than what is known of the place behind its character.
 */
static void
mark_depth(struct search *search, const char *begin, const char *end, int depth)
{
    struct place places[CHARACTER_MAX];
    const size_t secret_len = search->secret->text.len;
    char room[4];

    places[(size_t)(end - begin) % CHARACTER_MAX] = (struct place){0};
    for (const char *at = end; at-- > begin;) {
        struct belay__secret_reader reader = {at, end, false};
        struct place place = {0};
        size_t len = belay__secret_next(&reader, depth, room);

        if (len > 0) {
            place = places[(size_t)(reader.at - begin) % CHARACTER_MAX];
            place.distance += len;
        }
        while (len > 0) {
            place.state = advance(search->secret, place.state, room[--len]);
        }
        if (place.state == secret_len) {
            mark_hit(search, places, begin, at, end, depth);
            place.hit = at;
            place.distance = 0;
            place.reach = secret_len;
        }
        places[(size_t)(at - begin) % CHARACTER_MAX] = place;
    }
}

static void
mark_between(struct search *search, const char *begin, const char *end)
{
    const bool is_plain = memchr(begin, '\\', (size_t)(end - begin)) == NULL;

    for (int depth = 0; depth <= (is_plain ? 0 : BELAY__SECRET_DEPTH_MAX);
         depth++) {
        mark_depth(search, begin, end, depth);
    }
}

/* What a secret with that spot in it can reach over: what is written with its
 * letters, and those of escapes.
 */
static struct spot
stretch_of(const struct search *search, struct spot spot)
{
    const struct alphabet *alphabet = &search->alphabet;

    while (spot.begin > search->text
           && alphabet->has[letter_of((unsigned char)spot.begin[-1])]) {
        spot.begin--;
    }
    while (spot.end < search->end
           && alphabet->can_be[letter_of((unsigned char)*spot.end)]) {
        spot.end++;
    }
    return spot;
}

/* Every secret has a spot in it, before the first of which it is as it is. */
static void
mark_secret(struct search *search)
{
    const char *from = search->text;
    struct spot spot;

    alphabet_init(&search->alphabet, search->secret->text);
    search->plain = next_plain(search, from);
    search->escape = next_escape(search, from);
    while ((spot = next_spot(search, from)).begin != NULL) {
        spot = stretch_of(search, spot);
        if ((size_t)(spot.begin - search->text) >= search->mark_count) {
            return;
        }
        if ((size_t)(spot.end - spot.begin) >= search->secret->text.len) {
            mark_between(search, spot.begin, spot.end);
        }
        from = spot.end;
    }
}

static bool
mark_all(const struct belay__secrets *secrets, struct belay_slice text,
    char *marks, size_t mark_count, char mark)
{
    bool found = false;

    if (text.len == 0) {
        return false;
    }
    for (size_t i = 0; secrets != NULL && i < secrets->count; i++) {
        struct search search = {
            .secret = &secrets->items[i],
            .text = text.data,
            .end = text.data + text.len,
            .marks = marks,
            .mark_count = mark_count,
            .mark = mark,
        };

        mark_secret(&search);
        found |= search.found;
    }
    return found;
}

void
belay__secrets_find(const struct belay__secrets *secrets,
    struct belay_slice text, char *marks, size_t count)
{
    memset(marks, 0, count);
    (void)mark_all(secrets, text, marks, count, 1);
}

bool
belay__secrets_hide(
    const struct belay__secrets *secrets, struct belay_slice text, char *out)
{
    if (text.len > 0) {
        memcpy(out, text.data, text.len);
    }
    return mark_all(secrets, text, out, text.len, '*');
}
