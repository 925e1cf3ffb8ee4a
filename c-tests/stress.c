/* Everything at once, for as long as one likes, from one seed. */
#include "stress.h"

/* Does something that takes a moment, in one of the ways there are. */
static void dawdle(uint64_t *seed)
{
    switch (below(seed, 12)) {
    case 0:
        CHECK_OK(gmp_sleep(US(below(seed, 200))));
        break;
    case 1:
        block_ns(US(below(seed, 100)));
        break;
    case 2:
        spin_ns(US(below(seed, 100)));
        break;
    case 3:
        gmp_checkpoint();
        break;
    case 4:
    case 5:
        gmp_yield();
        break;
    default:
        break;
    }
}

/* A goroutine with a stack of some size, perhaps with a thread of its own. */
static gmp_g *spawn_somehow(uint64_t *seed, gmp_fn fn, void *arg)
{
    static const size_t sizes[] = {0, 0, 0, 32768, 65536, 1 << 20, 1 << 24};
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;

    attr.stack_size = sizes[below(seed, 7)];
    attr.flags = below(seed, 40) == 0 ? GMP_LOCKED_THREAD : 0;
    attr.name = below(seed, 3) == 0 ? "stress" : NULL;
    CHECK_OK(gmp_go_with(&attr, fn, arg, &g));
    return g;
}

/* A tree: each node starts its children and joins them. */
struct node {
    uint64_t seed;
    int depth;
    long leaves;
};

static void grow(void *arg)
{
    struct node *node = arg;
    struct node children[3];
    gmp_g *gs[3];
    int n = 1 + below(&node->seed, 3);

    dawdle(&node->seed);
    if (node->depth == 0) {
        node->leaves = 1;
        return;
    }
    for (int i = 0; i < n; i++) {
        children[i] = (struct node){next_random(&node->seed),
                                    node->depth - 1, 0};
        gs[i] = spawn_somehow(&node->seed, grow, &children[i]);
    }
    for (int i = n - 1; i >= 0; i--) {
        CHECK_OK(gmp_join(gs[i]));
        CHECK(children[i].leaves > 0);
        node->leaves += children[i].leaves;
    }
}

static void tree(uint64_t *seed)
{
    struct node root = {next_random(seed), below(seed, 5), 0};

    CHECK_OK(gmp_join(spawn_somehow(seed, grow, &root)));
    CHECK(root.leaves >= 1);
}

/* Producers and consumers: what goes in comes out. */
struct market {
    gmp_chan *ch;
    atomic_long sent, received, sent_sum, received_sum;
    atomic_int producers;
};

struct trader {
    struct market *market;
    uint64_t seed;
};

static void produce(void *arg)
{
    struct trader *t = arg;
    struct market *m = t->market;

    for (int i = below(&t->seed, 200); i > 0; i--) {
        long value = below(&t->seed, 1000);
        int result = -EAGAIN;

        dawdle(&t->seed);
        if (below(&t->seed, 4) == 0)
            result = gmp_chan_try_send(m->ch, &value);
        if (result == -EAGAIN)
            result = gmp_chan_send(m->ch, &value);
        CHECK_OK(result);
        atomic_fetch_add(&m->sent, 1);
        atomic_fetch_add(&m->sent_sum, value);
    }
    if (atomic_fetch_sub(&m->producers, 1) == 1)
        CHECK_OK(gmp_chan_close(m->ch));
}

static void consume(void *arg)
{
    struct trader *t = arg;
    struct market *m = t->market;
    long value;
    int result;

    for (;;) {
        dawdle(&t->seed);
        result = below(&t->seed, 4) ? gmp_chan_recv(m->ch, &value)
                                    : gmp_chan_try_recv(m->ch, &value);
        if (result == -EPIPE)
            break;
        if (result == -EAGAIN)
            continue;
        CHECK_OK(result);
        atomic_fetch_add(&m->received, 1);
        atomic_fetch_add(&m->received_sum, value);
    }
}

static void market(uint64_t *seed)
{
    struct market m = {.ch = gmp_chan_make(sizeof(long),
                                           (size_t)below(seed, 20))};
    struct trader traders[12];
    gmp_g *gs[12];
    int producers = 1 + below(seed, 6), consumers = 1 + below(seed, 6);

    CHECK(m.ch != NULL);
    m.producers = producers;
    for (int i = 0; i < producers + consumers; i++) {
        traders[i] = (struct trader){&m, next_random(seed)};
        gs[i] = spawn_somehow(seed, i < producers ? produce : consume,
                              &traders[i]);
    }
    for (int i = 0; i < producers + consumers; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_EQ(atomic_load(&m.sent), atomic_load(&m.received));
    CHECK_EQ(atomic_load(&m.sent_sum), atomic_load(&m.received_sum));
    gmp_chan_unref(m.ch);
}

/* A counter behind a mutex, and a wait group for its users. */
struct ledger {
    gmp_mutex mutex;
    gmp_waitgroup users;
    long balance; /* lock: mutex */
    uint64_t seed;
};

static void book(void *arg)
{
    struct ledger *ledger = arg;
    uint64_t seed = gmp_goid() * 77;

    for (int i = 0; i < 30; i++) {
        long before;

        if (below(&seed, 3) > 0 || gmp_mutex_trylock(&ledger->mutex) != 0)
            CHECK_OK(gmp_mutex_lock(&ledger->mutex));
        before = ledger->balance;
        dawdle(&seed);
        ledger->balance = before + 1;
        CHECK_OK(gmp_mutex_unlock(&ledger->mutex));
    }
    CHECK_OK(gmp_waitgroup_done(&ledger->users));
    if (below(&seed, 2))
        gmp_exit();
}

static void ledger(uint64_t *seed)
{
    struct ledger ledger = {GMP_MUTEX_INIT, GMP_WAITGROUP_INIT, 0, 0};
    int users = 1 + below(seed, 20);
    gmp_g *gs[20];

    CHECK_OK(gmp_waitgroup_add(&ledger.users, users));
    for (int i = 0; i < users; i++)
        gs[i] = spawn_somehow(seed, book, &ledger);
    CHECK_OK(gmp_waitgroup_wait(&ledger.users));
    CHECK_EQ(ledger.balance, 30 * users);
    for (int i = 0; i < users; i++)
        CHECK_OK(gmp_join(gs[i]));
}

/* Two that take turns through park and ready. */
struct turn {
    _Atomic(gmp_g *) players[2];
    atomic_int whose;
    int rounds;
};

struct player {
    struct turn *turn;
    int me;
    uint64_t seed;
};

static void play(void *arg)
{
    struct player *p = arg;
    struct turn *t = p->turn;

    atomic_store(&t->players[p->me], gmp_self());
    AWAIT(atomic_load(&t->players[1 - p->me]) != NULL);
    for (int i = 0; i < t->rounds; i++) {
        while (atomic_load(&t->whose) != p->me)
            CHECK_OK(gmp_park(NULL, NULL, "turn"));
        dawdle(&p->seed);
        atomic_store(&t->whose, 1 - p->me);
        gmp_ready(atomic_load(&t->players[1 - p->me]));
    }
}

static void turns(uint64_t *seed)
{
    struct turn turn = {.rounds = below(seed, 300)};
    struct player players[2];
    gmp_g *gs[2];

    for (int i = 0; i < 2; i++) {
        players[i] = (struct player){&turn, i, next_random(seed)};
        gs[i] = spawn_somehow(seed, play, &players[i]);
    }
    CHECK_OK(gmp_join(gs[0]));
    CHECK_OK(gmp_join(gs[1]));
}

/* Many that keep their threads busy or blocked, some locked to them. */
static void occupy_thread(void *arg)
{
    uint64_t seed = (uint64_t)(intptr_t)arg;
    bool locked = below(&seed, 4) == 0;
    long tid;

    if (locked)
        CHECK_OK(gmp_lock_os_thread());
    tid = thread_id();
    for (int i = 0; i < 5; i++) {
        if (below(&seed, 2))
            block_ns(US(below(&seed, 1000)));
        else
            spin_ns(US(below(&seed, 500)));
        dawdle(&seed);
        CHECK(!locked || thread_id() == tid);
    }
    if (locked && below(&seed, 2))
        CHECK_OK(gmp_unlock_os_thread());
}

static void occupied(uint64_t *seed)
{
    gmp_g *gs[30];
    int n = 1 + below(seed, 30);

    for (int i = 0; i < n; i++)
        gs[i] = spawn_somehow(seed, occupy_thread,
                              (void *)(intptr_t)next_random(seed));
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_join(gs[i]));
}

/* Handles: joined late, joined in vain, released, stale. */
static void linger(void *arg)
{
    gmp_sleep(US((intptr_t)arg));
}

static void handles(uint64_t *seed)
{
    for (int i = 0; i < 20; i++) {
        intptr_t span = below(seed, 500);
        gmp_g *g = spawn_somehow(seed, linger, (void *)span);
        int result;

        dawdle(seed);
        if (below(seed, 3) == 0) {
            gmp_release(g);
            CHECK_EQ(gmp_join(g), -EINVAL);
            continue;
        }
        result = gmp_join_until(g, gmp_after_ns(US(below(seed, 300))));
        CHECK(result == 0 || result == -ETIMEDOUT);
        if (result == -ETIMEDOUT)
            CHECK_OK(gmp_join(g));
        CHECK_EQ(gmp_join(g), -EINVAL);
    }
}

static struct scenario scenarios[] = {
    {"tree", tree, 0},         {"market", market, 0},
    {"ledger", ledger, 0},     {"turns", turns, 0},
    {"occupied", occupied, 0}, {"handles", handles, 0},
};

int test_main(int argc, char **argv)
{
    stress(scenarios, sizeof scenarios / sizeof *scenarios);
    return 0;
}
