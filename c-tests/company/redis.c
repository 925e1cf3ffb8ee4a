/* A module for redis: goroutines answer commands, write keys by themselves, and
 * sum up values of a type of its own. The server forks to save such values, and
 * then goroutines of the child's sum them up.
 *
 *     gmp.set KEY N SEED   N words that follow from SEED
 *     gmp.sum KEY          their sum; the client waits for goroutines
 *     gmp.later KEY N MS   a goroutine sets KEY to N, MS milliseconds later
 *     gmp.state            how often a timer has fired and a goroutine has
 *                          written; how many goroutines wait; how many values
 *                          a child has saved that were loaded here
 */
#include "redis.h"

#include <gmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PARTS = 4, WAITERS = 100 };

static struct redis redis;
static type *words_type;
static pid_t server;
static atomic_long ticks, written, waiting, saved_by_child;

/* Ends the process: the server, or the child that saves, which the server then
 * reports as failed. */
#define CHECK(cond) \
    ((cond) ? (void)0 : fail("failed: " #cond))

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    _exit(1);
}

/* A goroutine of the server goes on in the server only. */
static void at_home(void)
{
    CHECK(getpid() == server);
}

/* --- Values --------------------------------------------------------------- */

struct words {
    uint64_t n, seed;
    uint64_t at[];
};

static struct words *make_words(uint64_t n, uint64_t seed)
{
    struct words *words = malloc(sizeof *words + n * sizeof *words->at);

    CHECK(words != NULL);
    words->n = n;
    words->seed = seed;
    for (uint64_t i = 0; i < n; i++)
        words->at[i] = (seed + i) * 2654435761u % 1000003;
    return words;
}

struct part {
    const struct words *words;
    gmp_chan *sums;
    uint64_t from;
};

static void sum_part(void *arg)
{
    struct part *part = arg;
    uint64_t sum = 0;

    for (uint64_t i = part->from; i < part->words->n; i += PARTS)
        sum += part->words->at[i];
    CHECK(gmp_sleep(20000) == 0);
    CHECK(gmp_chan_send(part->sums, &sum) == 0);
}

/* By goroutines, of whatever process this is in. */
static uint64_t sum_of(const struct words *words)
{
    gmp_chan *sums = gmp_chan_make(sizeof(uint64_t), 0);
    struct part parts[PARTS];
    gmp_g *made[PARTS];
    uint64_t total = 0;

    CHECK(sums != NULL);
    for (int i = 0; i < PARTS; i++) {
        parts[i] = (struct part){words, sums, (uint64_t)i};
        CHECK(gmp_go_with(NULL, sum_part, &parts[i], &made[i]) == 0);
    }
    for (int i = 0; i < PARTS; i++) {
        uint64_t sum;

        CHECK(gmp_chan_recv(sums, &sum) == 0);
        total += sum;
    }
    for (int i = 0; i < PARTS; i++)
        CHECK(gmp_join(made[i]) == 0);
    gmp_chan_unref(sums);
    return total;
}

static void save(file *to, void *value)
{
    struct words *words = value;

    redis.SaveUnsigned(to, words->n);
    redis.SaveUnsigned(to, words->seed);
    redis.SaveUnsigned(to, sum_of(words));
    redis.SaveUnsigned(to, getpid() != server);
}

static void *load(file *from, int version)
{
    uint64_t n = redis.LoadUnsigned(from), seed = redis.LoadUnsigned(from);
    struct words *words = make_words(n, seed);

    (void)version;
    CHECK(redis.LoadUnsigned(from) == sum_of(words));
    atomic_fetch_add(&saved_by_child, (long)redis.LoadUnsigned(from));
    return words;
}

static void rewrite(file *to, string *name, void *value)
{
    struct words *words = value, *again = make_words(words->n, words->seed);

    CHECK(sum_of(words) == sum_of(again));
    free(again);
    redis.EmitAOF(to, "GMP.SET", "sll", name, (long long)words->n,
                  (long long)words->seed);
}

/* --- Commands ------------------------------------------------------------- */

static int set(context *ctx, string **argv, int argc)
{
    long long n, seed;
    key *key;

    if (argc != 4 || redis.StringToLongLong(argv[2], &n) != OK ||
        redis.StringToLongLong(argv[3], &seed) != OK)
        return redis.ReplyWithError(ctx, "ERR gmp.set KEY N SEED");
    key = redis.OpenKey(ctx, argv[1], READ | WRITE);
    redis.ModuleTypeSetValue(key, words_type,
                             make_words((uint64_t)n, (uint64_t)seed));
    redis.CloseKey(key);
    redis.ReplicateVerbatim(ctx);
    return redis.ReplyWithSimpleString(ctx, "OK");
}

/* What a goroutine does for a client that waits. */
struct job {
    blocked *client;
    gmp_fn work;
    struct words *words; /* to sum */
    char name[64];       /* to write to */
    long long number, ms;
};

static int answer(context *ctx, string **argv, int argc)
{
    struct job *job = redis.GetBlockedClientPrivateData(ctx);

    (void)argv, (void)argc;
    return redis.ReplyWithLongLong(ctx, job->number);
}

static void free_job(context *ctx, void *arg)
{
    struct job *job = arg;

    (void)ctx;
    free(job->words);
    free(job);
}

static int begin(context *ctx, struct job like)
{
    struct job *job = malloc(sizeof *job);

    CHECK(job != NULL);
    *job = like;
    job->client = redis.BlockClient(ctx, answer, NULL, free_job, 0);
    CHECK(gmp_go(job->work, job) == 0);
    return OK;
}

static void sums(void *arg)
{
    struct job *job = arg;

    job->number = (long long)sum_of(job->words);
    at_home();
    redis.UnblockClient(job->client, job);
}

static int sum(context *ctx, string **argv, int argc)
{
    key *key = argc == 2 ? redis.OpenKey(ctx, argv[1], READ) : NULL;
    struct job job = {.work = sums};

    if (key != NULL && redis.ModuleTypeGetType(key) == words_type) {
        struct words *words = redis.ModuleTypeGetValue(key);

        job.words = make_words(words->n, words->seed);
    }
    redis.CloseKey(key);
    return job.words ? begin(ctx, job)
                     : redis.ReplyWithError(ctx, "ERR no words");
}

/* Takes the server's lock, and gives it back before it calls the library: the
 * lock belongs to the thread. */
static void write_number(context *ctx, const char *name, long long number)
{
    redis.ThreadSafeContextLock(ctx);
    redis.FreeCallReply(redis.Call(ctx, "SET", "!cl", name, number));
    redis.ThreadSafeContextUnlock(ctx);
}

static void writes_later(void *arg)
{
    struct job *job = arg;
    context *ctx = redis.GetThreadSafeContext(job->client);

    CHECK(gmp_sleep(job->ms * 1000000) == 0);
    at_home();
    write_number(ctx, job->name, job->number);
    redis.FreeThreadSafeContext(ctx);
    redis.UnblockClient(job->client, job);
}

static int later(context *ctx, string **argv, int argc)
{
    struct job job = {.work = writes_later};

    if (argc != 4 || redis.StringToLongLong(argv[2], &job.number) != OK ||
        redis.StringToLongLong(argv[3], &job.ms) != OK)
        return redis.ReplyWithError(ctx, "ERR gmp.later KEY N MS");
    snprintf(job.name, sizeof job.name, "%s",
             redis.StringPtrLen(argv[1], NULL));
    return begin(ctx, job);
}

static int state(context *ctx, string **argv, int argc)
{
    (void)argv, (void)argc;
    redis.ReplyWithArray(ctx, 4);
    redis.ReplyWithLongLong(ctx, atomic_load(&ticks));
    redis.ReplyWithLongLong(ctx, atomic_load(&written));
    redis.ReplyWithLongLong(ctx, atomic_load(&waiting));
    return redis.ReplyWithLongLong(ctx, atomic_load(&saved_by_child));
}

/* --- What goes on all the time -------------------------------------------- */

static void tick(void *arg)
{
    (void)arg;
    at_home();
    atomic_fetch_add(&ticks, 1);
}

static void waits(void *never)
{
    atomic_fetch_add(&waiting, 1);
    (void)gmp_chan_recv(never, NULL);
    fail("nobody sends");
}

static void writes(void *arg)
{
    context *ctx = redis.GetThreadSafeContext(NULL);

    (void)arg;
    for (;;) {
        CHECK(gmp_sleep(2000000) == 0);
        at_home();
        write_number(ctx, "written", atomic_fetch_add(&written, 1));
    }
}

static int start(void)
{
    gmp_chan *never = gmp_chan_make(0, 0);

    if (never == NULL || gmp_go(writes, NULL) != 0 ||
        gmp_timer_start(1000000, 1000000, tick, NULL) == NULL)
        return ERR;
    for (int i = 0; i < WAITERS; i++)
        if (gmp_go(waits, never) != 0)
            return ERR;
    return OK;
}

int RedisModule_OnLoad(context *ctx, string **argv, int argc);

int RedisModule_OnLoad(context *ctx, string **argv, int argc)
{
    struct methods methods = {
        .version = API, .load = load, .save = save, .rewrite = rewrite,
        .free = free,
    };

    (void)argv, (void)argc;
    if (find_redis(ctx, &redis) != OK)
        return ERR;
    server = getpid();
    redis.SetModuleAttribs(ctx, "gmp", 1, API);
    words_type = redis.CreateDataType(ctx, "gmp-words", 1, &methods);
    if (words_type == NULL ||
        redis.CreateCommand(ctx, "gmp.set", set, "write", 1, 1, 1) != OK ||
        redis.CreateCommand(ctx, "gmp.sum", sum, "readonly", 1, 1, 1) != OK ||
        redis.CreateCommand(ctx, "gmp.later", later, "write", 1, 1, 1) != OK ||
        redis.CreateCommand(ctx, "gmp.state", state, "readonly", 0, 0, 0) != OK)
        return ERR;
    return start();
}
