/* The collected heap against an exact shadow. Goroutines and host threads
 * change random graphs of objects, each of a type whose map of pointers the
 * test knows, and keep a shadow: which object points to which, and where.
 * After each round all stand still while one collects, and each compares:
 * nothing that its shadow reaches is gone or changed, all else is gone but for
 * some that a word kept by chance, and what is gone is filled under gcstress.
 *
 * The shadow is memory of malloc and holds addresses inverted, so it keeps
 * nothing. SHADOW says how many operations all workers make together. */
#include "shadow.h"

enum {
    WORKERS = 6,
    ROOTS = 48,  /* each worker's: on its stack, in data, or in an object */
    WEAK = 32,
    CAP = 1 << 14,
    EDGES = 8,
    PARCEL = 6,
    ROUND = 4000 /* operations of a worker between two comparisons */
};

enum type { PAIR, RECORD, ARRAY, TEXT, BIG, TYPES };

/* Where the pointers of a type are: word `first`, and each `step` words. */
static const struct map {
    int edges, first, step;
    size_t least, more; /* bytes */
} maps[TYPES] = {
    [PAIR] = {2, 2, 1, 32, 1},
    [RECORD] = {6, 3, 2, 120, 200},
    [ARRAY] = {8, 2, 11, 720, 8000},
    [TEXT] = {0, 0, 0, 16, 900},
    [BIG] = {8, 5, 501, 40000, 200000},
};

struct edge {
    int to;        /* an index of the worker's, or NONE */
    unsigned into; /* bytes from the object's first */
};

enum { NONE = -1 };

/* An object, as its shadow. */
struct thing {
    uintptr_t hidden; /* 0: this place is free */
    uint32_t birth;   /* its number */
    enum type type;
    unsigned size;
    uint64_t salt; /* what the object holds besides pointers follows from it */
    struct edge edges[EDGES];
    int weak; /* the place of its weak pointer, or NONE */
    bool reached; /* by what the shadow knows */
    bool ruled;   /* by the object beside it: see find_ruled */
    bool dead;    /* it was counted */
    bool was;     /* it was there before the comparison's collection */
    struct token *token;
};

/* What a cleanup gets. */
struct token {
    atomic_int called;
    bool gone;
    struct token *next;
};

struct worker {
    int number;
    uint64_t seed;
    void **roots;
    struct edge root[ROOTS];
    struct thing *things;
    int *spare, nspare;
    gmp_weak **weak;
    int weak_of[WEAK];
    struct token *tokens;
    uint32_t births;
    long ops, dead, by_chance, by_rule, alive, parcels;
};

/* A tree on its way to another worker: its shadow. */
struct parcel {
    int n;
    struct thing things[PARCEL];
};

struct message {
    void *head;
    uintptr_t parcel;
};

static struct worker workers[WORKERS];
static void *in_data[WORKERS][ROOTS];
static gmp_chan *posts[2];
static gmp_barrier line = GMP_BARRIER_INIT(WORKERS);
static long ops_each;
static atomic_int lost_rounds;
static int rounds;
static bool stressed, compared;

/* The number of the object that was last made at an address. */
enum { CHUNK = 26, CHUNKS = 1 << (47 - CHUNK) };
static _Atomic(_Atomic uint32_t *) births[CHUNKS];

static _Atomic uint32_t *birth_at(const void *p)
{
    uintptr_t at = (uintptr_t)p;
    _Atomic uint32_t *all = atomic_load(&births[at >> CHUNK]), *none = NULL;

    if (all == NULL) {
        all = calloc((size_t)1 << (CHUNK - 4), sizeof *all);
        CHECK(all != NULL);
        if (!atomic_compare_exchange_strong(&births[at >> CHUNK], &none, all)) {
            free((void *)all);
            all = none;
        }
    }
    return &all[(at >> 4) & ((1 << (CHUNK - 4)) - 1)];
}

static char *seen(const struct thing *t)
{
    return (char *)~t->hidden;
}

static size_t below(struct worker *w, size_t n)
{
    return (size_t)(shadow_random(&w->seed) % n);
}

static size_t place(const struct thing *t, int edge)
{
    return 8 * (size_t)(maps[t->type].first + edge * maps[t->type].step);
}

/* Whether word `i` of an object is one of its pointers. */
static bool is_edge(const struct thing *t, size_t i)
{
    const struct map *m = &maps[t->type];

    for (int e = 0; e < m->edges; e++)
        if (place(t, e) == 8 * i)
            return true;
    return false;
}

/* Words that are no addresses. */
static uint64_t word_of(const struct thing *t, size_t i)
{
    return (t->salt + i) * 0x9E3779B97F4A7C15u | (uint64_t)1 << 63;
}

/* Which words of an object are looked at: all of a short one. */
static size_t stride(const struct thing *t)
{
    return t->size > 4096 ? 67 : 1;
}

static void fill(const struct thing *t, char *at)
{
    uint64_t *words = (uint64_t *)(void *)at;

    for (size_t i = 0; i < t->size / 8; i += stride(t))
        if (!is_edge(t, i))
            words[i] = word_of(t, i);
}

static void *target(struct worker *w, struct edge e)
{
    return e.to == NONE ? NULL : seen(&w->things[e.to]) + e.into;
}

/* An object that its shadow reaches is there, and as it was written. */
static void check_thing(struct worker *w, const struct thing *t)
{
    char *at = seen(t);
    uint64_t *words = (uint64_t *)(void *)at;

    for (size_t i = 0; i < t->size / 8; i += stride(t))
        if (!is_edge(t, i) && words[i] != word_of(t, i))
            test_fail(__FILE__, __LINE__, "what is alive has changed");
    for (int e = 0; e < maps[t->type].edges; e++) {
        void *real;

        memcpy(&real, at + place(t, e), sizeof real);
        if (real != target(w, t->edges[e]))
            test_fail(__FILE__, __LINE__, "a pointer has changed");
    }
}

static void cleaned(void *arg)
{
    struct token *token = arg;

    CHECK_EQ(atomic_fetch_add(&token->called, 1), 0);
}

/* A new object, which nothing points to yet but the result. Its shadow is
 * `t`. */
static void *make(struct worker *w, struct thing *t)
{
    static const enum type often[16] = {PAIR,   PAIR,   PAIR,  PAIR,
                                        RECORD, RECORD, RECORD, RECORD,
                                        TEXT,   TEXT,   TEXT,  PAIR,
                                        ARRAY,  PAIR,   TEXT,  RECORD};
    const struct map *m;
    char *at;

    memset(t, 0, sizeof *t);
    t->type = below(w, 500) == 0 ? BIG : often[below(w, 16)];
    m = &maps[t->type];
    t->size = (unsigned)((m->least + below(w, m->more)) & ~(size_t)7);
    t->salt = shadow_random(&w->seed);
    t->weak = NONE;
    for (int e = 0; e < EDGES; e++)
        t->edges[e].to = NONE;
    at = t->type == TEXT ? gmp_gc_alloc_noscan(t->size) : gmp_gc_alloc(t->size);
    CHECK(at != NULL && ((uintptr_t)at & 15) == 0);
    for (int e = 0; e < m->edges; e++) {
        void *real;

        memcpy(&real, at + place(t, e), sizeof real);
        CHECK(real == NULL);
    }
    fill(t, at);
    t->hidden = ~(uintptr_t)at;
    t->birth = ++w->births * WORKERS + (uint32_t)w->number;
    atomic_store(birth_at(at), t->birth);
    return at;
}

static int take_place(struct worker *w)
{
    return w->nspare == 0 ? NONE : w->spare[--w->nspare];
}

/* --- What a worker does --------------------------------------------------- */

/* A reachable object; NONE if the root that was chosen is empty. Follows the
 * real pointers too. */
static int walk(struct worker *w)
{
    int r = (int)below(w, ROOTS), at = w->root[r].to;

    CHECK(w->roots[r] == target(w, w->root[r]));
    for (size_t steps = below(w, 10); at != NONE && steps > 0; steps--) {
        struct thing *t = &w->things[at];
        int n = maps[t->type].edges, e;
        void *real;

        if (n == 0)
            break;
        e = (int)below(w, (size_t)n);
        memcpy(&real, seen(t) + place(t, e), sizeof real);
        CHECK(real == target(w, t->edges[e]));
        if (t->edges[e].to == NONE)
            break;
        at = t->edges[e].to;
    }
    return at;
}

/* Has a pointer of a reachable object, or a root, lead to `to`: to its begin,
 * into it, or, of a root, to its end. */
static void point(struct worker *w, int to)
{
    int from = below(w, 100) == 0 ? NONE : walk(w), n = 0;
    struct edge edge = {to, 0};
    void *real;

    if (to != NONE && below(w, 4) == 0)
        edge.into = (unsigned)below(w, w->things[to].size);
    if (from != NONE && (n = maps[w->things[from].type].edges) == 0)
        return;
    if (n > 0) {
        int e = (int)below(w, (size_t)n);

        real = target(w, edge);
        memcpy(seen(&w->things[from]) + place(&w->things[from], e), &real,
               sizeof real);
        w->things[from].edges[e] = edge;
    } else {
        size_t r = below(w, ROOTS);

        /* An object has its size exactly only where the heap says so. */
        if (to != NONE && w->number % 3 != 2 && below(w, 4) == 0)
            edge.into = (unsigned)gmp_gc_size(seen(&w->things[to]));
        w->root[r] = edge;
        w->roots[r] = target(w, edge);
    }
}

static void allocate(struct worker *w)
{
    int at = take_place(w);

    if (at == NONE)
        return;
    void *p = make(w, &w->things[at]);
    point(w, at);
    GMP_GC_KEEP(p);
}

/* Objects of which nobody else knows: freed by hand, or made longer. */
static void by_hand(struct worker *w)
{
    struct thing t;
    char *p = make(w, &t);

    if (below(w, 2) == 0) {
        size_t size = below(w, 3000) + 8, same = size < t.size ? size : t.size;
        char *q = gmp_gc_realloc(p, size);

        CHECK(q != NULL);
        atomic_store(birth_at(q), 0);
        for (size_t i = 0; i < same / 8; i += stride(&t))
            if (!is_edge(&t, i))
                CHECK(((uint64_t *)(void *)q)[i] == word_of(&t, i));
        p = q;
    }
    CHECK_EQ(gmp_gc_free(p + 8), -EINVAL);
    CHECK_OK(gmp_gc_free(p));
}

static void watch(struct worker *w)
{
    int at = walk(w), slot = (int)below(w, WEAK);
    struct thing *t;

    if (at == NONE)
        return;
    t = &w->things[at];
    if (t->weak == NONE) {
        gmp_weak *weak = gmp_gc_weak(seen(t) + 8);

        CHECK(weak != NULL && gmp_gc_weak_get(weak) == seen(t));
        atomic_store(birth_at(gmp_gc_base(weak)), 0);
        if (w->weak_of[slot] != NONE)
            w->things[w->weak_of[slot]].weak = NONE;
        w->weak[slot] = weak;
        w->weak_of[slot] = at;
        t->weak = slot;
    } else {
        CHECK(gmp_gc_weak_get(w->weak[t->weak]) == seen(t));
    }
}

static void add_cleanup(struct worker *w)
{
    int at = walk(w);
    struct token *token;

    if (at == NONE || w->things[at].token != NULL)
        return;
    token = calloc(1, sizeof *token);
    CHECK(token != NULL);
    token->next = w->tokens;
    w->tokens = w->things[at].token = token;
    CHECK_OK(gmp_gc_cleanup(seen(&w->things[at]), cleaned, token));
}

/* A tree of new objects for another worker. */
static void post(struct worker *w)
{
    struct parcel *p = calloc(1, sizeof *p);
    struct message m;

    CHECK(p != NULL);
    p->n = 1 + (int)below(w, PARCEL);
    m.parcel = ~(uintptr_t)p;
    for (int i = p->n - 1; i >= 0; i--) {
        struct thing *t = &p->things[i];
        void *it = make(w, t);

        /* Each keeps the one that was made before it. */
        while (i > 0 && maps[t->type].edges == 0)
            it = make(w, t);
        if (i < p->n - 1 && maps[t->type].edges > 0) {
            memcpy((char *)it + place(t, 0), &m.head, sizeof m.head);
            t->edges[0] = (struct edge){i + 1, 0};
        } else {
            p->n = i + 1;
        }
        m.head = it;
    }
    if (gmp_chan_send_until(posts[below(w, 2)], &m, gmp_after_ns(US(100))) != 0)
        free(p);
}

static void receive(struct worker *w)
{
    int places[PARCEL];
    struct message m;
    struct parcel *p;

    if (w->nspare < PARCEL
        || gmp_chan_recv_until(posts[below(w, 2)], &m, gmp_after_ns(US(100))))
        return;
    p = (struct parcel *)~m.parcel;
    CHECK(m.head == seen(&p->things[0]));
    for (int i = 0; i < p->n; i++)
        places[i] = take_place(w);
    for (int i = 0; i < p->n; i++) {
        struct thing *t = &w->things[places[i]];

        *t = p->things[i];
        for (int e = 0; e < EDGES; e++)
            if (t->edges[e].to != NONE)
                t->edges[e].to = places[t->edges[e].to];
    }
    for (int i = 0; i < p->n; i++)
        check_thing(w, &w->things[places[i]]);
    point(w, places[0]);
    w->parcels++;
    free(p);
}

static void operate(struct worker *w)
{
    switch (below(w, 64)) {
    case 0 ... 27:
        allocate(w);
        break;
    case 28 ... 43:
        point(w, walk(w));
        break;
    case 44 ... 50:
        point(w, NONE);
        break;
    case 51 ... 53:
        by_hand(w);
        break;
    case 54 ... 55:
        watch(w);
        break;
    case 56:
        if (below(w, 4) == 0)
            add_cleanup(w);
        break;
    case 57:
        if (below(w, 8) == 0)
            post(w);
        break;
    case 58:
        if (below(w, 8) == 0)
            receive(w);
        break;
    default: {
        int at = walk(w);

        if (at != NONE)
            check_thing(w, &w->things[at]);
    }
    }
    w->ops++;
}

/* --- The comparison ------------------------------------------------------- */

/* Marks all that the `n` objects in `todo` lead to. */
static void reach(struct worker *w, int *todo, int n, bool by_rule)
{
    while (n > 0) {
        struct thing *t = &w->things[todo[--n]];

        if (t->reached || t->ruled)
            continue;
        t->reached = !by_rule;
        t->ruled = by_rule;
        for (int e = 0; e < maps[t->type].edges; e++)
            if (t->edges[e].to != NONE)
                todo[n++] = t->edges[e].to;
    }
}

static int by_value(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

    return x < y ? -1 : x > y;
}

/* Whether it is there still, and no other object in its place. */
static bool is_there(const struct thing *t)
{
    return gmp_gc_base(seen(t)) == seen(t)
           && atomic_load(birth_at(seen(t))) == t->birth;
}

/* Of stacks and data, a pointer keeps the object that it points to and the one
 * that ends there. So next to an object that a root of anybody's leads to, to
 * its begin or its end, another one stays. */
static int find_ruled(struct worker *w, int *todo)
{
    uintptr_t values[WORKERS * ROOTS];
    int n = 0, found = 0;

    for (int i = 0; i < WORKERS; i++)
        for (int r = 0; i % 3 != 2 && r < ROOTS; r++)
            values[n++] = ~(uintptr_t)workers[i].roots[r];
    qsort(values, (size_t)n, sizeof *values, by_value);
    for (int i = 0; i < CAP; i++) {
        struct thing *t = &w->things[i];

        if (t->hidden == 0 || t->reached || !is_there(t))
            continue;
        uintptr_t ends[2] = {t->hidden,
                             ~(uintptr_t)(seen(t) + gmp_gc_size(seen(t)))};
        for (int k = 0; k < 2; k++)
            if (bsearch(&ends[k], values, (size_t)n, sizeof *values,
                        by_value)) {
                todo[found++] = i;
                break;
            }
    }
    return found;
}

static void check_gone(struct worker *w, struct thing *t)
{
    if (t->weak != NONE) {
        CHECK(gmp_gc_weak_get(w->weak[t->weak]) == NULL);
        w->weak[t->weak] = NULL;
        w->weak_of[t->weak] = NONE;
    }
    if (t->token != NULL)
        t->token->gone = true;
    for (size_t i = 0; stressed && t->was && i < t->size; i++)
        CHECK_EQ((unsigned char)seen(t)[i], 0xdb);
}

static void check_alive(struct worker *w, struct thing *t)
{
    if (!is_there(t))
        test_fail(__FILE__, __LINE__, "an object that is alive is gone");
    CHECK(gmp_gc_size(seen(t)) >= t->size);
    check_thing(w, t);
    CHECK(t->token == NULL || atomic_load(&t->token->called) == 0);
    CHECK(t->weak == NONE || gmp_gc_weak_get(w->weak[t->weak]) == seen(t));
}

static void compare(struct worker *w)
{
    int *todo = malloc((CAP + ROOTS) * (EDGES + 1) * sizeof *todo), n = 0;

    CHECK(todo != NULL);
    for (int r = 0; r < ROOTS; r++)
        if (w->root[r].to != NONE)
            todo[n++] = w->root[r].to;
    reach(w, todo, n, false);
    n = find_ruled(w, todo);
    reach(w, todo, n, true);
    free(todo);
    w->alive = 0;
    for (int i = 0; i < CAP; i++) {
        struct thing *t = &w->things[i];

        if (t->hidden == 0)
            continue;
        if (t->reached) {
            check_alive(w, t);
            w->alive++;
        } else if (is_there(t)) {
            w->by_rule += t->ruled && !t->dead;
            w->by_chance += !t->ruled && !t->dead;
            w->dead += !t->dead;
            t->dead = true;
        } else {
            CHECK(!t->ruled);
            check_gone(w, t);
            w->dead += !t->dead;
            t->hidden = 0;
            w->spare[w->nspare++] = i;
        }
        t->reached = t->ruled = false;
    }
}

static void meet(void)
{
    int rc = gmp_barrier_wait(&line);

    CHECK(rc >= 0);
}

/* Overwrites what operations have left below on the stack. */
static __attribute__((noinline)) void clear_stack(void)
{
    volatile char room[16384];

    memset((char *)room, 0, sizeof room);
}

static __attribute__((noinline)) void round_of(struct worker *w)
{
    long most = stressed ? ROUND / 100 : ROUND;
    long n = ops_each - w->ops < most ? ops_each - w->ops : most;

    while (n-- > 0)
        operate(w);
    /* For the collection that comes. */
    for (int i = 0; i < 20; i++)
        point(w, NONE);
}

/* Whether freed memory is filled is to be seen where nobody allocates before
 * the look. */
static void note_all(struct worker *w)
{
    for (int i = 0; i < CAP; i++)
        if (w->things[i].hidden != 0)
            w->things[i].was = is_there(&w->things[i]);
}

static void work(struct worker *w)
{
    for (int round = 0; round < rounds; round++) {
        round_of(w);
        meet();
        if (stressed)
            note_all(w);
        clear_stack();
        meet();
        if (w->number == 0) {
            int rc = gmp_gc();

            CHECK(rc == 0 || rc == -EBUSY);
            compared = rc == 0;
            atomic_fetch_add(&lost_rounds, rc != 0);
        }
        meet();
        if (compared)
            compare(w);
        meet();
    }
}

static void set_up(struct worker *w, void **roots)
{
    w->roots = roots;
    w->things = calloc(CAP, sizeof *w->things);
    w->spare = calloc(CAP, sizeof *w->spare);
    w->weak = gmp_gc_alloc_root(WEAK * sizeof *w->weak);
    CHECK(w->things != NULL && w->spare != NULL && w->weak != NULL);
    for (int i = 0; i < CAP; i++)
        w->spare[w->nspare++] = i;
    for (int i = 0; i < ROOTS; i++)
        w->root[i].to = NONE;
    for (int i = 0; i < WEAK; i++)
        w->weak_of[i] = NONE;
}

/* By its number, a worker's roots are on its stack, in the program's data, or
 * in an object. */
static void worker(void *arg)
{
    struct worker *w = arg;
    void *on_stack[ROOTS] = {NULL};
    void **in_object = gmp_gc_alloc_root(sizeof on_stack);
    void **roots[3] = {on_stack, in_data[w->number], in_object};

    CHECK(in_object != NULL);
    set_up(w, roots[w->number % 3]);
    work(w);
    GMP_GC_KEEP(on_stack);
    CHECK_OK(gmp_gc_free(in_object));
}

static void *worker_thread(void *arg)
{
    worker(arg);
    return NULL;
}

static void drain(void)
{
    struct message m;

    for (int i = 0; i < 2; i++) {
        while (gmp_chan_try_recv(posts[i], &m) == 0)
            free((struct parcel *)~m.parcel);
        gmp_chan_unref(posts[i]);
    }
}

static void finish(struct worker *w)
{
    for (struct token *t = w->tokens, *next; t != NULL; t = next) {
        next = t->next;
        if (t->gone) {
            AWAIT(atomic_load(&t->called) == 1);
            free(t);
        }
    }
    memset(w->roots == in_data[w->number] ? w->roots : in_data[0], 0,
           sizeof in_data[0]);
    CHECK_OK(gmp_gc_free(w->weak));
    free(w->things);
    free(w->spare);
}

int test_main(int argc, char **argv)
{
    long ops, dead = 0, by_chance = 0, by_rule = 0, alive = 0, parcels = 0;
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    pthread_t threads[2];
    gmp_gc_stats stats;
    gmp_g *g[WORKERS - 2];

    stressed = gc_stressed();
    ops = test_under(NULL) ? 2 * WORKERS * ROUND : 120000;
    ops = test_env("SHADOW", stressed ? 600 : ops);
    if (ops > 1000000)
        test_watchdog(1000);
    ops_each = ops / WORKERS;
    rounds = (int)((ops_each + ROUND - 1) / ROUND);
    if (stressed)
        rounds *= 4;
    posts[0] = gmp_chan_make(sizeof(struct message), 0);
    posts[1] = gmp_chan_make(sizeof(struct message), 5);
    CHECK(posts[0] != NULL && posts[1] != NULL);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].number = i;
        workers[i].seed = seed * 1000003 + (uint64_t)i + 1;
        if (i < WORKERS - 2)
            CHECK_OK(gmp_go_with(NULL, worker, &workers[i], &g[i]));
        else
            CHECK_OK(pthread_create(&threads[i - WORKERS + 2], NULL,
                                    worker_thread, &workers[i]));
    }
    for (int i = 0; i < WORKERS - 2; i++)
        CHECK_OK(gmp_join(g[i]));
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    drain();
    for (int i = 0; i < WORKERS; i++) {
        dead += workers[i].dead;
        by_chance += workers[i].by_chance;
        by_rule += workers[i].by_rule;
        alive += workers[i].alive;
        parcels += workers[i].parcels;
        finish(&workers[i]);
    }
    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    printf("%ld operations, %d rounds (%d lost), %ld alive, %ld died, %ld kept "
           "by the one beside, %ld by chance, %ld parcels, %llu collections\n",
           ops, rounds, atomic_load(&lost_rounds), alive, dead, by_rule,
           by_chance, parcels, (unsigned long long)stats.collections);
    CHECK(dead > ops / 20);
    /* Each round some words of a few frames are old, whatever was done in it:
     * it takes whole rounds, in which many die, to compare. */
    CHECK(stressed || by_chance * 100 < dead);
    CHECK(atomic_load(&lost_rounds) <= rounds / 10);
    return 0;
}
