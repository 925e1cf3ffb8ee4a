/* Condition variables: each signal wakes one that waits, in the order in which
 * they came, also when others give up at the same moment; the mutex is held
 * again however a wait ends.
 *
 * A waiter counts itself under the mutex, which only its wait lets go. So who
 * sees the count under the mutex knows that it waits. */
#include "test.h"

enum { WAITERS = 6, ROUNDS = 100, SLOTS = 4, ITEMS = 400, WORKERS = 6 };

static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_cond cond = GMP_COND_INIT;
static atomic_int inside;
static int waiting;             /* lock: mutex; waits that have begun */
static int woken, late, called; /* lock: mutex; how they have ended */
static int order[WAITERS];      /* lock: mutex; who was woken, in order */

static void enter(void)
{
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
}

static void leave(void)
{
    atomic_fetch_sub(&inside, 1);
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

/* A wait of one that is inside, and is so again afterwards. */
static int wait_inside(int64_t deadline)
{
    int result;

    waiting++;
    atomic_fetch_sub(&inside, 1);
    result = deadline == GMP_FOREVER
                 ? gmp_cond_wait(&cond, &mutex)
                 : gmp_cond_wait_until(&cond, &mutex, deadline);
    CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    return result;
}

/* A counter, read under the mutex. */
static int peek(const int *count)
{
    int value;

    enter();
    value = *count;
    leave();
    return value;
}

static void start_over(void)
{
    enter();
    waiting = woken = late = called = 0;
    leave();
}

/* What a condition does on which nobody waits. */
static void check_empty(void)
{
    CHECK_OK(gmp_cond_signal(&cond));
    CHECK_OK(gmp_cond_broadcast(&cond));
    enter();
    CHECK_EQ(wait_inside(gmp_after_ns(US(100))), -ETIMEDOUT);
    leave();
    CHECK_OK(gmp_mutex_trylock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void wait_for_signal(void *arg)
{
    enter();
    CHECK_OK(wait_inside(GMP_FOREVER));
    if (woken < WAITERS)
        order[woken] = (int)(intptr_t)arg;
    woken++;
    leave();
}

static void *wait_on_thread(void *arg)
{
    wait_for_signal(arg);
    return NULL;
}

/* Five goroutines and a host thread, which wait in this order. */
struct queue {
    gmp_g *gs[WAITERS - 1];
    pthread_t thread;
};

static void start_queue(struct queue *q)
{
    start_over();
    for (intptr_t i = 0; i < WAITERS; i++) {
        if (i == WAITERS / 2)
            CHECK_OK(pthread_create(&q->thread, NULL, wait_on_thread,
                                    (void *)i));
        else
            q->gs[i - (i > WAITERS / 2)] = spawn(wait_for_signal, (void *)i);
        AWAIT(peek(&waiting) == i + 1);
    }
}

static void join_queue(struct queue *q)
{
    for (int i = 0; i < WAITERS - 1; i++)
        CHECK_OK(gmp_join(q->gs[i]));
    CHECK_OK(pthread_join(q->thread, NULL));
}

static void signal_wakes_one(bool under_mutex)
{
    struct queue q;

    start_queue(&q);
    for (int i = 0; i < WAITERS; i++) {
        CHECK_EQ(peek(&woken), i);
        if (under_mutex)
            enter();
        CHECK_OK(gmp_cond_signal(&cond));
        if (under_mutex)
            leave();
        AWAIT(peek(&woken) > i);
        CHECK_OK(gmp_sleep(US(300)));
        CHECK_EQ(peek(&woken), i + 1);
        CHECK_EQ(order[i], i);
    }
    join_queue(&q);
    check_empty();
}

/* The mutex may come to those woken at once in any order; who they are is
 * settled. */
static void signals_reach_the_first(void)
{
    struct queue q;
    int seen = 0;

    start_queue(&q);
    enter();
    for (int i = 0; i < WAITERS / 2; i++)
        CHECK_OK(gmp_cond_signal(&cond));
    CHECK_EQ(woken, 0);
    leave();
    AWAIT(peek(&woken) >= WAITERS / 2);
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_EQ(peek(&woken), WAITERS / 2);
    for (int i = 0; i < WAITERS / 2; i++)
        seen |= 1 << order[i];
    CHECK_EQ(seen, (1 << WAITERS / 2) - 1);
    CHECK_OK(gmp_cond_broadcast(&cond));
    join_queue(&q);
    CHECK_EQ(woken, WAITERS);
    check_empty();
}

static void broadcast_wakes_all(void)
{
    struct queue q;
    gmp_g *after;

    start_queue(&q);
    enter();
    CHECK_OK(gmp_cond_broadcast(&cond));
    leave();
    join_queue(&q);
    CHECK_EQ(woken, WAITERS);
    /* It was for those that waited, not for those that come. */
    after = spawn(wait_for_signal, NULL);
    AWAIT(peek(&waiting) == WAITERS + 1);
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_EQ(peek(&woken), WAITERS);
    CHECK_OK(gmp_cond_broadcast(&cond));
    CHECK_OK(gmp_join(after));
    check_empty();
}

static void deadlines(void *arg)
{
    static const int64_t past[] = {0, -1, INT64_MIN};
    int64_t deadline;

    enter();
    for (size_t i = 0; i < sizeof past / sizeof *past; i++)
        CHECK_EQ(wait_inside(past[i]), -ETIMEDOUT);
    deadline = gmp_after_ns(MS(2));
    CHECK_EQ(wait_inside(deadline), -ETIMEDOUT);
    CHECK(gmp_now() >= deadline);
    leave();
    check_empty();
}

static void unlocked_mutex_is_refused(void *arg)
{
    CHECK_EQ(gmp_cond_wait(&cond, &mutex), -EPERM);
    CHECK_EQ(gmp_cond_wait_until(&cond, &mutex, GMP_FOREVER), -EPERM);
    CHECK_EQ(gmp_cond_wait_until(&cond, &mutex, gmp_after_ns(MS(1))), -EPERM);
    check_empty();
}

static void wait_when_cancelled(void *arg)
{
    CHECK_OK(gmp_cancel(gmp_self()));
    enter();
    /* At once, and without letting the mutex go. */
    CHECK_EQ(gmp_cond_wait(&cond, &mutex), -ECANCELED);
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    CHECK_EQ(gmp_cond_wait_until(&cond, &mutex, GMP_FOREVER), -ECANCELED);
    CHECK_EQ(gmp_cond_wait_until(&cond, &mutex, 0), -ECANCELED);
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    CHECK_OK(gmp_shield_enter());
    CHECK_EQ(wait_inside(gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_OK(gmp_shield_leave());
    leave();
}

/* A wait of which the starter sees the result. */
struct waiter {
    int64_t deadline;
    atomic_int result; /* PENDING until it holds the mutex again */
};
enum { PENDING = 1 };

static void wait_and_tell(void *arg)
{
    struct waiter *w = arg;
    int result;

    enter();
    result = wait_inside(w->deadline);
    woken += result == 0;
    late += result == -ETIMEDOUT;
    called += result == -ECANCELED;
    atomic_store(&w->result, result);
    leave();
}

/* Starts `n` of them, and returns when all wait. */
static void start_waiters(struct waiter *ws, gmp_g **gs, int n,
                          int64_t deadline)
{
    int before = peek(&waiting);

    for (int i = 0; i < n; i++) {
        ws[i].deadline = deadline;
        atomic_store(&ws[i].result, PENDING);
        gs[i] = spawn(wait_and_tell, &ws[i]);
    }
    AWAIT(peek(&waiting) == before + n);
}

/* Ends a wait in two ways, one after the other, while it could not have the
 * mutex: by a signal, and by a cancel, or by a deadline after `span`. It comes
 * back with what was first when it gets the mutex, and not before.
 *
 * False if the deadline passed too soon to tell. */
static bool end_while_locked(bool signal_first, int64_t span)
{
    struct waiter first, second;
    int64_t deadline = span ? gmp_after_ns(span) : GMP_FOREVER;
    int want = span ? -ETIMEDOUT : -ECANCELED;
    gmp_g *gs[2];
    bool in_time;

    start_over();
    start_waiters(&first, &gs[0], 1, deadline);
    start_waiters(&second, &gs[1], 1, GMP_FOREVER);
    enter();
    if (signal_first)
        CHECK_OK(gmp_cond_signal(&cond));
    in_time = gmp_now() < deadline;
    if (in_time && span)
        CHECK_OK(gmp_sleep_until(deadline + MS(2)));
    else if (in_time)
        CHECK_OK(gmp_cancel(gs[0]));
    if (!signal_first)
        CHECK_OK(gmp_cond_signal(&cond));
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK(first.result == PENDING || !in_time);
    CHECK(second.result == PENDING || !in_time);
    leave();
    CHECK_OK(gmp_join(gs[0]));
    if (in_time && (signal_first || !span))
        CHECK_EQ(first.result, signal_first ? 0 : want);
    /* The signal was for one of the two. */
    CHECK(first.result == 0 || first.result == want);
    if (first.result == 0)
        CHECK_OK(gmp_cond_signal(&cond));
    CHECK_OK(gmp_join(gs[1]));
    CHECK_EQ(second.result, 0);
    check_empty();
    return in_time;
}

static void ends_once(bool signal_first)
{
    int64_t span = MS(20);

    CHECK(end_while_locked(signal_first, 0));
    while (!end_while_locked(signal_first, span))
        span *= 2;
}

static void cancel_ends_a_wait(void)
{
    struct waiter waiters[WAITERS];
    gmp_g *gs[WAITERS];

    start_over();
    for (int i = 0; i < WAITERS; i++)
        start_waiters(&waiters[i], &gs[i], 1,
                      i % 2 ? GMP_FOREVER : gmp_after_ns(SEC(40)));
    for (int i = 1; i < WAITERS; i += 2) {
        CHECK_OK(gmp_cancel(gs[i]));
        CHECK_OK(gmp_join(gs[i]));
        CHECK_EQ(waiters[i].result, -ECANCELED);
    }
    CHECK_EQ(peek(&woken), 0);
    for (int i = 0; i < WAITERS; i += 2) {
        CHECK_OK(gmp_cond_signal(&cond));
        CHECK_OK(gmp_join(gs[i]));
        CHECK_EQ(waiters[i].result, 0);
    }
    check_empty();
}

enum { LEAVERS = 6, SIGNALS = 4 };

static void cancel_all(void *arg)
{
    gmp_g **gs = arg;

    for (int i = 0; i < LEAVERS; i++)
        (void)gmp_cancel(gs[i]); /* it may have ended */
}

/* The signals come while those in front give up. Behind them are as many
 * patient ones as signals, so each signal wakes exactly one. */
static void no_signal_is_lost(bool cancel, uint64_t seed)
{
    struct waiter leavers[LEAVERS], patient[SIGNALS];
    gmp_g *gs[LEAVERS], *behind[SIGNALS], *canceller = NULL;
    int64_t due = gmp_after_ns(MS(2));

    start_over();
    start_waiters(leavers, gs, LEAVERS, cancel ? GMP_FOREVER : due);
    start_waiters(patient, behind, SIGNALS, GMP_FOREVER);
    if (cancel)
        canceller = spawn(cancel_all, gs);
    while (!cancel && gmp_now() < due - US(10))
        gmp_checkpoint();
    for (int i = 0; i < SIGNALS; i++) {
        spin_ns((int64_t)(next_random(&seed) % (uint64_t)US(12)));
        CHECK_OK(gmp_cond_signal(&cond));
    }
    AWAIT(peek(&woken) >= SIGNALS);
    if (canceller)
        CHECK_OK(gmp_join(canceller));
    for (int i = 0; i < LEAVERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    enter();
    CHECK_EQ(woken, SIGNALS);
    CHECK_EQ(cancel ? late : called, 0);
    leave();
    CHECK_OK(gmp_cond_broadcast(&cond));
    for (int i = 0; i < SIGNALS; i++) {
        CHECK_OK(gmp_join(behind[i]));
        CHECK_EQ(patient[i].result, 0);
    }
    CHECK_EQ(woken + late + called, LEAVERS + SIGNALS);
}

/* A bounded buffer. */
static struct {
    gmp_mutex mutex;
    gmp_cond not_empty, not_full;
    int slots[SLOTS];
    int begin, used; /* lock: mutex */
} buffer;

static void put(int item)
{
    CHECK_OK(gmp_mutex_lock(&buffer.mutex));
    while (buffer.used == SLOTS)
        CHECK_OK(gmp_cond_wait(&buffer.not_full, &buffer.mutex));
    buffer.slots[(buffer.begin + buffer.used++) % SLOTS] = item;
    CHECK_OK(gmp_mutex_unlock(&buffer.mutex));
    CHECK_OK(gmp_cond_signal(&buffer.not_empty));
}

/* Waits in steps of `step`, or all at once for 0. */
static int get(int64_t step)
{
    int item, result;

    CHECK_OK(gmp_mutex_lock(&buffer.mutex));
    while (buffer.used == 0) {
        result = gmp_cond_wait_until(&buffer.not_empty, &buffer.mutex,
                                     step ? gmp_after_ns(step) : GMP_FOREVER);
        CHECK(result == 0 || (step && result == -ETIMEDOUT));
    }
    item = buffer.slots[buffer.begin];
    buffer.begin = (buffer.begin + 1) % SLOTS;
    buffer.used--;
    CHECK_OK(gmp_cond_signal(&buffer.not_full));
    CHECK_OK(gmp_mutex_unlock(&buffer.mutex));
    return item;
}

static atomic_long total;

static void produce(void *arg)
{
    for (int i = 1; i <= ITEMS; i++)
        put(i);
}

static void consume(void *arg)
{
    for (int i = 0; i < ITEMS; i++)
        atomic_fetch_add(&total, get(US(30) * ((intptr_t)arg % 3)));
}

static void *produce_on_thread(void *arg)
{
    produce(arg);
    return NULL;
}

static void *consume_on_thread(void *arg)
{
    consume(arg);
    return NULL;
}

static void bounded_buffer(void)
{
    gmp_g *gs[2 * WORKERS];
    pthread_t threads[4];

    atomic_store(&total, 0);
    for (intptr_t i = 0; i < WORKERS; i++) {
        gs[2 * i] = spawn(produce, NULL);
        gs[2 * i + 1] = spawn(consume, (void *)i);
    }
    for (intptr_t i = 0; i < 4; i++)
        CHECK_OK(pthread_create(&threads[i], NULL,
                                i % 2 ? produce_on_thread : consume_on_thread,
                                (void *)i));
    for (int i = 0; i < 2 * WORKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(buffer.used, 0);
    CHECK_EQ(atomic_load(&total), (WORKERS + 2L) * ITEMS * (ITEMS + 1) / 2);
}

/* A condition in memory that goes with the last broadcast. */
struct latch {
    gmp_mutex mutex;
    gmp_cond cond;
    int waiting; /* lock: mutex */
    bool open;   /* lock: mutex */
};

static void pass(void *arg)
{
    struct latch *latch = arg;

    CHECK_OK(gmp_mutex_lock(&latch->mutex));
    latch->waiting++;
    if (!latch->open)
        CHECK_OK(gmp_cond_wait(&latch->cond, &latch->mutex));
    CHECK(latch->open);
    CHECK_OK(gmp_mutex_unlock(&latch->mutex));
}

static void memory_may_go_after_the_broadcast(void)
{
    static unsigned char wiped[sizeof(gmp_cond)];
    gmp_g *gs[3];

    memset(wiped, 0xA5, sizeof wiped);
    for (int i = 0; i < ROUNDS; i++) {
        struct latch latch = {.mutex = GMP_MUTEX_INIT, .cond = GMP_COND_INIT};

        for (int j = 0; j < 3; j++)
            gs[j] = spawn(pass, &latch);
        CHECK_OK(gmp_mutex_lock(&latch.mutex));
        while (latch.waiting < 3) {
            CHECK_OK(gmp_mutex_unlock(&latch.mutex));
            gmp_yield();
            CHECK_OK(gmp_mutex_lock(&latch.mutex));
        }
        latch.open = true;
        CHECK_OK(gmp_cond_broadcast(&latch.cond));
        memset(&latch.cond, 0xA5, sizeof latch.cond);
        CHECK_OK(gmp_mutex_unlock(&latch.mutex));
        for (int j = 0; j < 3; j++)
            CHECK_OK(gmp_join(gs[j]));
        CHECK(memcmp(&latch.cond, wiped, sizeof wiped) == 0);
    }
}

int test_main(int argc, char **argv)
{
    static const gmp_fn anywhere[] = {deadlines, unlocked_mutex_is_refused};

    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++) {
        anywhere[i](NULL);
        CHECK_OK(gmp_join(spawn(anywhere[i], NULL)));
    }
    check_empty();
    signal_wakes_one(false);
    signal_wakes_one(true);
    signals_reach_the_first();
    broadcast_wakes_all();
    CHECK_OK(gmp_join(spawn(wait_when_cancelled, NULL)));
    check_empty();
    ends_once(true);
    ends_once(false);
    cancel_ends_a_wait();
    for (int i = 0; i < ROUNDS; i++)
        no_signal_is_lost(i % 2, (uint64_t)i);
    check_empty();
    bounded_buffer();
    memory_may_go_after_the_broadcast();
    return 0;
}
