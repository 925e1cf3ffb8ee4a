/* gmp_park and gmp_ready: one permit, what unlockf may do, and a semaphore
 * made of them by hand. A park may end for no reason, so that everybody here
 * looks at a condition of its own. */
#include "test.h"

enum { ROUNDS = 20000, USERS = 50, PERMITS = 3 };

static void permit_is_kept(void *arg)
{
    gmp_g *self = gmp_self();

    /* Ready before the park: it returns, however often. */
    for (int i = 0; i < 100; i++) {
        CHECK_OK(gmp_ready(self));
        CHECK_OK(gmp_park(NULL, NULL, "permit"));
    }
}

struct side {
    _Atomic(gmp_g *) g;
    atomic_int wanted;
    struct side *other;
};

static void wait_turn(struct side *me, int round)
{
    while (atomic_load(&me->wanted) <= round)
        CHECK_OK(gmp_park(NULL, NULL, "turn"));
}

static void volley(void *arg)
{
    struct side *me = arg;

    atomic_store(&me->g, gmp_self());
    AWAIT(atomic_load(&me->other->g) != NULL);
    for (int round = 0; round < ROUNDS; round++) {
        wait_turn(me, round);
        atomic_fetch_add(&me->other->wanted, 1);
        /* After its last turn the other may have ended already. */
        CHECK(gmp_ready(me->other->g) == 0 || round == ROUNDS - 1);
    }
}

static void no_wake_up_is_lost(void)
{
    struct side a = {.wanted = 1}, b = {.wanted = 0};
    gmp_g *ga, *gb;

    a.other = &b;
    b.other = &a;
    ga = spawn(volley, &a);
    gb = spawn(volley, &b);
    CHECK_OK(gmp_join(ga));
    CHECK_OK(gmp_join(gb));
}

static int stay_awake(gmp_g *g, void *lock)
{
    *(gmp_g **)lock = g;
    return 0;
}

static void unlockf_may_decline(void *arg)
{
    gmp_g *seen = NULL;

    CHECK_OK(gmp_park(stay_awake, &seen, "declined"));
    CHECK(seen != NULL);
    CHECK(seen == gmp_self());
}

struct trial {
    gmp_chan *empty;
    gmp_mutex *locked;
    gmp_waitgroup *busy;
    gmp_g *other;
    int recv, send, sleep, park, lock, wait, join, ready;
};

/* Nothing here may park; what does not park works. */
static int try_to_park(gmp_g *g, void *lock)
{
    struct trial *t = lock;
    int value = 1;

    t->recv = gmp_chan_recv(t->empty, &value);
    t->send = gmp_chan_send(t->empty, &value);
    t->sleep = gmp_sleep(MS(1));
    t->park = gmp_park(NULL, NULL, "nested");
    t->lock = gmp_mutex_lock(t->locked);
    t->wait = gmp_waitgroup_wait(t->busy);
    t->join = gmp_join(t->other);
    gmp_yield();
    t->ready = gmp_ready(g);
    return 1;
}

static atomic_bool stop;

static void run_until_stopped(void *arg)
{
    while (!atomic_load(&stop))
        gmp_sleep(US(500));
}

static void unlockf_may_not_park(void *arg)
{
    gmp_mutex mutex = GMP_MUTEX_INIT;
    gmp_waitgroup group = GMP_WAITGROUP_INIT;
    struct trial t = {.locked = &mutex, .busy = &group, .ready = 1};

    t.empty = gmp_chan_make(sizeof(int), 0);
    atomic_store(&stop, false);
    t.other = spawn(run_until_stopped, NULL);
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_waitgroup_add(&group, 1));
    while (t.ready != 0)
        CHECK_OK(gmp_park(try_to_park, &t, "trial"));
    CHECK_EQ(t.recv, -EDEADLK);
    CHECK_EQ(t.send, -EDEADLK);
    CHECK_EQ(t.sleep, -EDEADLK);
    CHECK_EQ(t.park, -EDEADLK);
    CHECK_EQ(t.lock, -EDEADLK);
    CHECK_EQ(t.wait, -EDEADLK);
    CHECK_EQ(t.join, -EDEADLK);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_waitgroup_done(&group));
    atomic_store(&stop, true);
    CHECK_OK(gmp_join(t.other));
    gmp_chan_unref(t.empty);
}

static void end(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void ended_takes_no_permit(void *arg)
{
    atomic_bool over = false;
    gmp_g *g = spawn(end, &over);

    AWAIT(atomic_load(&over));
    while (gmp_ready(g) == 0) /* its last instructions may still run */
        gmp_yield();
    CHECK_EQ(gmp_ready(g), -EINVAL);
    CHECK_OK(gmp_join(g));
    CHECK_EQ(gmp_ready(g), -EINVAL);
    CHECK_EQ(gmp_ready(NULL), -EINVAL);
}

/* A semaphore: a count, and a queue of parked goroutines or host threads. */
struct waiter {
    gmp_g *g;
    atomic_bool granted;
    struct waiter *next;
};

struct semaphore {
    pthread_mutex_t lock;
    int count;
    struct waiter *first, **last;
};

static struct semaphore semaphore = {PTHREAD_MUTEX_INITIALIZER, PERMITS, NULL,
                                     &semaphore.first};

struct enqueue {
    struct semaphore *semaphore;
    struct waiter *waiter;
};

/* Runs once the goroutine waits: from here on it may be readied. */
static int enqueue_and_unlock(gmp_g *g, void *arg)
{
    struct enqueue *e = arg;
    struct semaphore *s = e->semaphore;

    e->waiter->g = g;
    e->waiter->next = NULL;
    *s->last = e->waiter;
    s->last = &e->waiter->next;
    pthread_mutex_unlock(&s->lock);
    return 1;
}

static void acquire(struct semaphore *s)
{
    struct waiter waiter = {.g = NULL};
    struct enqueue enqueue = {s, &waiter};

    pthread_mutex_lock(&s->lock);
    if (s->count > 0) {
        s->count--;
        pthread_mutex_unlock(&s->lock);
        return;
    }
    CHECK_OK(gmp_park(enqueue_and_unlock, &enqueue, "semaphore"));
    while (!atomic_load(&waiter.granted))
        CHECK_OK(gmp_park(NULL, NULL, "semaphore"));
    /* The grantor is through with the record once we can take its lock. */
    pthread_mutex_lock(&s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct semaphore *s)
{
    struct waiter *w;

    pthread_mutex_lock(&s->lock);
    w = s->first;
    if (!w) {
        s->count++;
    } else {
        s->first = w->next;
        if (!s->first)
            s->last = &s->first;
        atomic_store(&w->granted, true);
        CHECK_OK(gmp_ready(w->g));
    }
    pthread_mutex_unlock(&s->lock);
}

static atomic_int inside;

static void use_semaphore(void *arg)
{
    for (int i = 0; i < 20; i++) {
        acquire(&semaphore);
        CHECK(atomic_fetch_add(&inside, 1) < PERMITS);
        if (i % 4 == 0)
            gmp_yield();
        atomic_fetch_sub(&inside, 1);
        release(&semaphore);
    }
}

static void *use_semaphore_from_thread(void *arg)
{
    use_semaphore(arg);
    return NULL;
}

static void semaphore_by_hand(void)
{
    gmp_g *users[USERS];
    pthread_t threads[4];

    for (int i = 0; i < USERS; i++)
        users[i] = spawn(use_semaphore, NULL);
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, use_semaphore_from_thread,
                                NULL));
    for (int i = 0; i < USERS; i++)
        CHECK_OK(gmp_join(users[i]));
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(semaphore.count, PERMITS);
}

int test_main(int argc, char **argv)
{
    CHECK_OK(gmp_join(spawn(permit_is_kept, NULL)));
    no_wake_up_is_lost();
    CHECK_OK(gmp_join(spawn(unlockf_may_decline, NULL)));
    CHECK_OK(gmp_join(spawn(unlockf_may_not_park, NULL)));
    unlockf_may_not_park(NULL);
    ended_takes_no_permit(NULL);
    CHECK_OK(gmp_join(spawn(ended_takes_no_permit, NULL)));
    semaphore_by_hand();
    return 0;
}
