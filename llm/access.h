/* access.h - a key, and the connections that are made with it (private to
 * llm/).
 *
 * Two keys never share a connection (S11). A client that is given its key has
 * one access; one with a key source gets another whenever the source gives
 * another key, and the old one goes when the last attempt that was made with
 * it is over. The first of a client with a source has no key: it only says
 * how the others are made.
 */
#ifndef BELAY_LLM_ACCESS_H
#define BELAY_LLM_ACCESS_H

#include <belay/llm.h>

#include "llm/http/client.h"
#include "llm/provider/provider.h"
#include "llm/secret.h"

struct belay__llm_access {
    struct belay__llm_access *next; /* of the client's, newest first */
    char *authorization; /* "Bearer KEY", or NULL; wiped when freed */
    size_t authorization_size;
    struct belay__secrets secrets; /* the key, and what its address holds */
    struct belay__http_endpoint *endpoints[BELAY__AUTHS]; /* by how the key is
                                                             sent; NULL once
                                                             the client is left */
    uint32_t users; /* calls whose last attempt was made with it */
};

/* What is to be kept out of texts. NULL is fine, and may be the result. */
static inline const struct belay__secrets *
belay__llm_access_secrets(const struct belay__llm_access *access)
{
    return access != NULL ? &access->secrets : NULL;
}

/* Where its exchanges go; NULL: the client is left. NULL is fine. */
static inline struct belay__http_endpoint *
belay__llm_access_endpoint(
    const struct belay__llm_access *access, enum belay__auth auth)
{
    return access != NULL ? access->endpoints[auth] : NULL;
}

/* The client's first one. Errors: as belay_llm_client_open(), with the reason
 * of BELAY_EINVAL; nothing is left behind.
 */
int belay__llm_access_open(belay_llm_client *client,
    const struct belay_llm_client_opts *opts, const char **ret_why);

/* The one that an attempt is made with now, in the place of the one before.
 * Errors: BELAY_EAUTH the source has no key; BELAY_EINVAL it cannot be sent;
 * BELAY_ECLOSED the client is being left; BELAY_ENOMEM. Then *access is NULL.
 */
int belay__llm_access_take(
    belay_llm_client *client, struct belay__llm_access **access);
/* NULL is fine. */
void belay__llm_access_give(
    belay_llm_client *client, struct belay__llm_access **access);

/* The server has refused its key: has the source another one? */
bool belay__llm_access_renew(
    belay_llm_client *client, const struct belay__llm_access *access);

/* Closes all connections; exchanges end with BELAY_ECLOSED. */
void belay__llm_access_close(belay_llm_client *client);
/* Nobody has one any more. */
void belay__llm_access_free(belay_llm_client *client);

#endif
