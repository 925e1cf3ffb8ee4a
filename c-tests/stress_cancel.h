/* For stress_cancel.c: crews, whose calls get random deadlines and are
 * cancelled at random; the results that such calls may have; and the scenarios
 * of crews at the objects of gmp.h that lie inside the host's structs.
 *
 * A crew is a few actors, goroutines and host threads, at one subject. Each
 * call of an actor that can be interrupted goes through brace and judge:
 *
 *     deadline = brace(a);
 *     result = judge(a, deadline, gmp_chan_recv_until(ch, &value, deadline));
 */
#ifndef GMPRT_STRESS_CANCEL_H
#define GMPRT_STRESS_CANCEL_H

#include "stress.h"

enum { CREW = 12 };

struct actor {
    void (*act)(struct actor *a);
    void *subject; /* what the crew is at */
    int me;        /* number in the crew */
    uint64_t seed;
    bool on_thread;
    bool shielded;
    bool cancelled; /* before the call, so far as it knew */
    gmp_g *g;
    pthread_t thread;
    atomic_int *ended; /* the crew's */
};

struct crew {
    int n;
    struct actor actors[CREW];
    atomic_int ended;
};

static int64_t some_deadline(uint64_t *seed)
{
    switch (below(seed, 8)) {
    case 0:
        return INT64_MIN;
    case 1:
        return gmp_now() - 1;
    case 2:
        return gmp_after_ns(MS(below(seed, 3)));
    case 3:
    case 4:
        return gmp_after_ns(US(below(seed, 400)));
    default:
        return gmp_after_ns(US(below(seed, 30)));
    }
}

/* Notes whether the next call must fail, and chooses its deadline. */
static int64_t brace(struct actor *a)
{
    a->cancelled = gmp_cancelled();
    CHECK(!a->cancelled || !a->on_thread);
    return some_deadline(&a->seed);
}

/* Checks that a call that failed had a reason; returns its result. */
#define judge(a, when, result) judge_at(__FILE__, __LINE__, a, when, result)

static int judge_at(const char *file, int line, struct actor *a,
                    int64_t deadline, int result)
{
    if (result == -ETIMEDOUT && gmp_now() < deadline)
        test_fail(file, line, "no timeout before the deadline");
    if (a->cancelled && !a->shielded)
        test_equal(file, line, "after a cancel", result, -ECANCELED);
    if (result == -ECANCELED && (a->shielded || !gmp_cancelled()))
        test_fail(file, line, "no cancel without a reason");
    return result;
}

/* The kinds of a call: it waits, it does not wait, or until a deadline. */
enum { PLAIN, TRY, UNTIL };

/* Whether a call succeeded; if not, checks that it had a reason. */
static bool did_it(int kind, int result)
{
    CHECK(result == 0 || (kind == TRY && result == -EAGAIN) ||
          (kind != TRY && (result == -ETIMEDOUT || result == -ECANCELED)));
    return result == 0;
}

/* Takes a moment in one of several ways, cancelled or not. */
static void linger(uint64_t *seed)
{
    int result = 0;

    switch (below(seed, 16)) {
    case 0:
        result = gmp_sleep(US(1 + below(seed, 100)));
        break;
    case 1:
        block_ns(US(below(seed, 50)));
        break;
    case 2:
        spin_ns(US(below(seed, 50)));
        break;
    case 3:
        gmp_checkpoint();
        break;
    case 4:
        gmp_yield();
        break;
    default:
        break;
    }
    CHECK(result == 0 || (result == -ECANCELED && gmp_cancelled()));
}

/* Passes the time between two calls of an actor, sometimes behind a shield,
 * where the actor does not see a cancel. */
static void dawdle(struct actor *a)
{
    if (below(&a->seed, 10) == 0) {
        CHECK_OK(a->shielded ? gmp_shield_leave() : gmp_shield_enter());
        a->shielded = !a->shielded;
    }
    linger(&a->seed);
}

static void note_end(void *arg)
{
    struct actor *a = arg;

    if (a->shielded)
        CHECK_OK(gmp_shield_leave());
    atomic_fetch_add(a->ended, 1);
}

static void act_on_goroutine(void *arg)
{
    struct actor *a = arg;

    CHECK_OK(gmp_defer(note_end, a));
    a->act(a);
    if (below(&a->seed, 4) == 0)
        gmp_exit();
}

static void *act_on_thread(void *arg)
{
    struct actor *a = arg;

    a->act(a);
    note_end(a);
    return NULL;
}

static void crew_start(struct crew *crew, uint64_t *seed, int n,
                       void (*act)(struct actor *), void *subject)
{
    crew->n = n;
    atomic_store(&crew->ended, 0);
    for (int i = 0; i < n; i++) {
        struct actor *a = &crew->actors[i];

        *a = (struct actor){.act = act, .subject = subject, .me = i,
                            .seed = next_random(seed),
                            .on_thread = below(seed, 5) == 0,
                            .ended = &crew->ended};
        if (a->on_thread)
            CHECK_OK(pthread_create(&a->thread, NULL, act_on_thread, a));
        else
            a->g = spawn(act_on_goroutine, a);
    }
}

static void cancel(gmp_g *g)
{
    int result = gmp_cancel(g);

    CHECK(result == 0 || result == -EINVAL); /* it has ended */
}

/* Cancels some actors of the crew, or none, at random times. */
static void crew_harass(struct crew *crew, uint64_t *seed)
{
    for (int i = below(seed, crew->n + 3) - 2; i > 0; i--) {
        struct actor *a = &crew->actors[below(seed, crew->n)];

        linger(seed);
        if (!a->on_thread)
            cancel(a->g);
    }
}

static void crew_join(struct crew *crew, uint64_t *seed)
{
    for (int i = 0; i < crew->n; i++) {
        struct actor *a = &crew->actors[i];
        int result = -ETIMEDOUT;

        if (a->on_thread) {
            CHECK_OK(pthread_join(a->thread, NULL));
            continue;
        }
        if (below(seed, 2))
            result = gmp_join_until(a->g, some_deadline(seed));
        CHECK(result == 0 || result == -ETIMEDOUT);
        if (result == -ETIMEDOUT)
            CHECK_OK(gmp_join(a->g));
        CHECK_EQ(gmp_cancel(a->g), -EINVAL);
    }
    CHECK_EQ(atomic_load(&crew->ended), crew->n);
}

static void crew_run(uint64_t *seed, void (*act)(struct actor *),
                     void *subject)
{
    struct crew crew;

    crew_start(&crew, seed, 1 + below(seed, CREW), act, subject);
    crew_harass(&crew, seed);
    crew_join(&crew, seed);
}

/* A counter behind a mutex: the number of times that it was locked. */
struct ledger {
    gmp_mutex mutex;
    long balance; /* lock: mutex */
    atomic_long locks;
};

static int lock_somehow(struct actor *a, gmp_mutex *mutex)
{
    int64_t deadline = brace(a);
    int kind = below(&a->seed, 4), result;

    if (kind == PLAIN) {
        CHECK_OK(gmp_mutex_lock(mutex)); /* cancelled or not */
        return true;
    }
    result = kind == TRY
                 ? gmp_mutex_trylock(mutex)
                 : judge(a, deadline, gmp_mutex_lock_until(mutex, deadline));
    return did_it(kind, result);
}

static void book(struct actor *a)
{
    struct ledger *l = a->subject;

    for (int i = below(&a->seed, 40); i > 0; i--) {
        long before;

        dawdle(a);
        if (!lock_somehow(a, &l->mutex))
            continue;
        before = l->balance;
        linger(&a->seed);
        l->balance = before + 1;
        atomic_fetch_add(&l->locks, 1);
        CHECK_OK(gmp_mutex_unlock(&l->mutex));
    }
}

static void ledger(uint64_t *seed)
{
    struct ledger l = {.mutex = GMP_MUTEX_INIT};

    crew_run(seed, book, &l);
    CHECK_OK(gmp_mutex_trylock(&l.mutex));
    CHECK_EQ(l.balance, atomic_load(&l.locks));
    CHECK_OK(gmp_mutex_unlock(&l.mutex));
}

/* Two numbers that are equal while nobody writes. */
struct page {
    gmp_rwmutex lock;
    long left, right; /* lock: lock */
    atomic_int readers, writers;
    atomic_long locks;
};

static void write_page(struct actor *a, struct page *p)
{
    int64_t deadline = brace(a);
    int kind = below(&a->seed, 3), result;

    if (kind == PLAIN)
        CHECK_OK(result = gmp_rwmutex_lock(&p->lock));
    else if (kind == TRY)
        result = gmp_rwmutex_trylock(&p->lock);
    else
        result = judge(a, deadline,
                       gmp_rwmutex_lock_until(&p->lock, deadline));
    if (!did_it(kind, result))
        return;
    CHECK_EQ(atomic_fetch_add(&p->writers, 1), 0);
    CHECK_EQ(atomic_load(&p->readers), 0);
    p->left++;
    linger(&a->seed);
    p->right++;
    atomic_fetch_add(&p->locks, 1);
    atomic_fetch_sub(&p->writers, 1);
    CHECK_OK(gmp_rwmutex_unlock(&p->lock));
}

static void read_page(struct actor *a, struct page *p)
{
    int64_t deadline = brace(a);
    int kind = below(&a->seed, 3), result;
    long left;

    if (kind == PLAIN)
        CHECK_OK(result = gmp_rwmutex_rlock(&p->lock));
    else if (kind == TRY)
        result = gmp_rwmutex_tryrlock(&p->lock);
    else
        result = judge(a, deadline,
                       gmp_rwmutex_rlock_until(&p->lock, deadline));
    if (!did_it(kind, result))
        return;
    atomic_fetch_add(&p->readers, 1);
    CHECK_EQ(atomic_load(&p->writers), 0);
    left = p->left;
    linger(&a->seed);
    CHECK_EQ(p->right, left);
    atomic_fetch_sub(&p->readers, 1);
    CHECK_OK(gmp_rwmutex_runlock(&p->lock));
}

static void read_and_write(struct actor *a)
{
    for (int i = below(&a->seed, 40); i > 0; i--) {
        dawdle(a);
        if (below(&a->seed, 4) == 0)
            write_page(a, a->subject);
        else
            read_page(a, a->subject);
    }
}

static void page(uint64_t *seed)
{
    struct page p = {.lock = GMP_RWMUTEX_INIT};

    crew_run(seed, read_and_write, &p);
    CHECK_OK(gmp_rwmutex_trylock(&p.lock)); /* nobody has left it locked */
    CHECK_EQ(p.left, atomic_load(&p.locks));
    CHECK_EQ(p.right, p.left);
    CHECK_OK(gmp_rwmutex_unlock(&p.lock));
}

/* Goods, and a condition that is signalled once for each. A signalled wait
 * returns 0, and a wait that gives up takes no signal from others. So only an
 * actor whose wait returned 0 takes goods, and still no actor waits while there
 * are goods. */
struct store {
    gmp_mutex mutex;
    gmp_cond cond;
    /* lock: mutex */
    long goods, produced, consumed, waiting, signals, woken;
    bool broadcasts, over;
    atomic_int producers;
};

static void produce(struct actor *a, struct store *s)
{
    for (int i = below(&a->seed, 40); i > 0; i--) {
        dawdle(a);
        CHECK_OK(gmp_mutex_lock(&s->mutex));
        s->goods++;
        s->produced++;
        s->signals++;
        CHECK_OK(s->broadcasts && i % 4 == 0 ? gmp_cond_broadcast(&s->cond)
                                             : gmp_cond_signal(&s->cond));
        CHECK_OK(gmp_mutex_unlock(&s->mutex));
    }
    atomic_fetch_sub(&s->producers, 1);
}

/* Waits under the mutex, which the actor holds again after any result. */
static int await_goods(struct actor *a, struct store *s)
{
    int64_t deadline = brace(a);
    int result;

    s->waiting++;
    if (below(&a->seed, 3) == 0)
        result = judge(a, GMP_FOREVER, gmp_cond_wait(&s->cond, &s->mutex));
    else
        result = judge(a, deadline, gmp_cond_wait_until(&s->cond, &s->mutex,
                                                        deadline));
    s->waiting--;
    s->woken += result == 0 && !s->over;
    return result;
}

static void consume(struct actor *a, struct store *s)
{
    for (int i = below(&a->seed, 60); i > 0; i--) {
        int result = 0;

        dawdle(a);
        CHECK_OK(gmp_mutex_lock(&s->mutex));
        while (result == 0 && s->goods == 0 && !s->over)
            result = await_goods(a, s);
        if (did_it(UNTIL, result) && s->goods > 0) {
            s->goods--;
            s->consumed++;
        }
        CHECK_OK(gmp_mutex_unlock(&s->mutex));
    }
}

static void trade_goods(struct actor *a)
{
    if (a->me % 3 == 0)
        produce(a, a->subject);
    else
        consume(a, a->subject);
}

static bool nobody_waits_in_vain(struct store *s)
{
    bool fine;

    CHECK_OK(gmp_mutex_lock(&s->mutex));
    fine = s->goods == 0 || s->waiting == 0;
    CHECK_OK(gmp_mutex_unlock(&s->mutex));
    return fine;
}

static void store(uint64_t *seed)
{
    struct store s = {.mutex = GMP_MUTEX_INIT, .cond = GMP_COND_INIT};
    struct crew crew;
    int n = 1 + below(seed, CREW);

    s.broadcasts = below(seed, 3) == 0;
    s.producers = (n + 2) / 3;
    crew_start(&crew, seed, n, trade_goods, &s);
    crew_harass(&crew, seed);
    AWAIT(atomic_load(&s.producers) == 0);
    AWAIT(nobody_waits_in_vain(&s));
    CHECK_OK(gmp_mutex_lock(&s.mutex));
    s.over = true;
    CHECK_OK(gmp_cond_broadcast(&s.cond));
    CHECK_OK(gmp_mutex_unlock(&s.mutex));
    crew_join(&crew, seed);
    CHECK_EQ(s.produced, s.consumed + s.goods);
    CHECK_EQ(s.waiting, 0);
    CHECK(s.broadcasts || s.woken <= s.signals);
}

/* No more actors inside than there are tokens, and all tokens come back. */
struct pool {
    gmp_sema sema;
    int tokens;
    atomic_int held;
};

static void hold_tokens(struct actor *a)
{
    struct pool *p = a->subject;

    for (int i = below(&a->seed, 40); i > 0; i--) {
        int64_t deadline;
        int kind = below(&a->seed, 4), result;

        dawdle(a);
        deadline = brace(a);
        if (kind == PLAIN)
            result = judge(a, GMP_FOREVER, gmp_sema_acquire(&p->sema));
        else if (kind == TRY)
            result = gmp_sema_try_acquire(&p->sema);
        else
            result = judge(a, deadline,
                           gmp_sema_acquire_until(&p->sema, deadline));
        if (!did_it(kind, result))
            continue;
        CHECK(atomic_fetch_add(&p->held, 1) < p->tokens);
        linger(&a->seed);
        atomic_fetch_sub(&p->held, 1);
        CHECK_OK(gmp_sema_release(&p->sema));
    }
}

static void pool(uint64_t *seed)
{
    int tokens = 1 + below(seed, 4);
    struct pool p = {GMP_SEMA_INIT((unsigned)tokens), tokens, 0};

    crew_run(seed, hold_tokens, &p);
    for (int i = 0; i < tokens; i++)
        CHECK_OK(gmp_sema_try_acquire(&p.sema));
    CHECK_EQ(gmp_sema_try_acquire(&p.sema), -EAGAIN);
}

/* Workers, and actors that wait for all of them. */
struct site {
    gmp_waitgroup group;
    int workers;
    atomic_int finished;
};

static void work_or_wait(struct actor *a)
{
    struct site *s = a->subject;

    if (a->me < s->workers) {
        for (int i = below(&a->seed, 10); i > 0; i--)
            dawdle(a);
        atomic_fetch_add(&s->finished, 1);
        CHECK_OK(gmp_waitgroup_done(&s->group));
        return;
    }
    for (int i = below(&a->seed, 20); i > 0; i--) {
        int64_t deadline;
        int result;

        dawdle(a);
        deadline = below(&a->seed, 4) ? brace(a) : (brace(a), GMP_FOREVER);
        result = judge(a, deadline,
                       gmp_waitgroup_wait_until(&s->group, deadline));
        if (did_it(UNTIL, result))
            CHECK_EQ(atomic_load(&s->finished), s->workers);
    }
}

static void site(uint64_t *seed)
{
    struct site s = {.group = GMP_WAITGROUP_INIT};
    struct crew crew;
    int n = 1 + below(seed, CREW);

    s.workers = 1 + below(seed, n);
    CHECK_OK(gmp_waitgroup_add(&s.group, s.workers));
    crew_start(&crew, seed, n, work_or_wait, &s);
    crew_harass(&crew, seed);
    CHECK_OK(gmp_waitgroup_wait(&s.group));
    CHECK_EQ(atomic_load(&s.finished), s.workers);
    crew_join(&crew, seed);
    CHECK_OK(gmp_waitgroup_wait_until(&s.group, 0));
    CHECK_EQ(gmp_waitgroup_done(&s.group), -EINVAL);
}

/* Work that is done once, by the first actor to come, cancelled or not. */
struct chore {
    gmp_once once;
    atomic_int runs;
    atomic_bool done;
};

static void do_chore(void *arg)
{
    struct chore *c = arg;
    uint64_t seed = gmp_goid() * 31 + 1;

    CHECK_EQ(atomic_fetch_add(&c->runs, 1), 0);
    for (int i = below(&seed, 8); i > 0; i--)
        linger(&seed);
    atomic_store(&c->done, true);
}

static void do_chores(struct actor *a)
{
    struct chore *chores = a->subject;

    for (int i = 0; i < 6; i++) {
        struct chore *c = &chores[(i + below(&a->seed, 2)) % 6];
        int64_t deadline;
        int result = 0;

        dawdle(a);
        deadline = brace(a);
        if (below(&a->seed, 2))
            CHECK_OK(gmp_once_do(&c->once, do_chore, c));
        else
            result = judge(a, deadline,
                           gmp_once_do_until(&c->once, do_chore, c, deadline));
        if (did_it(UNTIL, result))
            CHECK(atomic_load(&c->done));
    }
}

static void chores(uint64_t *seed)
{
    struct chore all[6];

    memset(all, 0, sizeof all);
    crew_run(seed, do_chores, all);
    for (int i = 0; i < 6; i++) {
        CHECK_OK(gmp_once_do(&all[i].once, do_chore, &all[i]));
        CHECK_EQ(atomic_load(&all[i].runs), 1);
    }
}

#endif
