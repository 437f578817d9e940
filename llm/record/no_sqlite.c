/* no_sqlite.c - in place of sink_sqlite.c in a build without SQLite. */
#include "llm/record/sink.h"

const struct belay__sink_kind *const belay__sink_sqlite = NULL;
