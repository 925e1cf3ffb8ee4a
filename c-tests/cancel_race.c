/* Cancels that come at the worst moment: together with what is waited for,
 * or when the goroutine ends and another takes its place. Nothing is lost,
 * nothing is had twice, and nobody else is cancelled. */
#include "test.h"

enum { VICTIMS = 16, RACES = 120, SIGNALS = 300, REUSES = 2500, SPAWNERS = 4,
       CANCELLERS = 3 };

/* What went into a channel or semaphore, and what came out. */
static gmp_chan *chans[2];
static gmp_sema sema = GMP_SEMA_INIT(0);
static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_rwmutex rw = GMP_RWMUTEX_INIT;
static atomic_long in, out, sum_in, sum_out, numbers;
static atomic_int ready_victims, granted, cancelled, writers, readers;

static void put(long value)
{
    atomic_fetch_add(&in, 1);
    atomic_fetch_add(&sum_in, value);
}

static void got(long value)
{
    atomic_fetch_add(&out, 1);
    atomic_fetch_add(&sum_out, value);
}

/* The waits of the victims. */
static int receive(long number)
{
    long value = -1;
    int result = gmp_chan_recv(chans[0], &value);

    if (result == 0)
        got(value);
    else
        CHECK_EQ(value, -1);
    return result;
}

static int send(long number)
{
    int result = gmp_chan_send(chans[0], &number);

    if (result == 0)
        put(number);
    return result;
}

static int select_receive(long number)
{
    long values[2] = {-1, -1};
    gmp_case cases[] = {
        {.ch = chans[0], .elem = &values[0], .op = GMP_RECV, .result = 9},
        {.ch = chans[1], .elem = &values[1], .op = GMP_RECV, .result = 9},
    };
    int result = gmp_select(cases, 2);

    if (result >= 0) {
        CHECK_EQ(cases[result].result, 0);
        CHECK_EQ(values[!result], -1);
        got(values[result]);
    }
    return result > 0 ? 0 : result;
}

static int select_send(long number)
{
    gmp_case cases[] = {
        {.ch = chans[0], .elem = &number, .op = GMP_SEND, .result = 9},
        {.ch = chans[1], .elem = &number, .op = GMP_SEND, .result = 9},
    };
    int result = gmp_select(cases, 2);

    if (result >= 0) {
        CHECK_EQ(cases[result].result, 0);
        put(number);
    }
    return result > 0 ? 0 : result;
}

static int acquire(long number)
{
    int result = gmp_sema_acquire(&sema);

    if (result == 0)
        got(1);
    return result;
}

static int lock(long number)
{
    int result = gmp_mutex_lock_until(&mutex, GMP_FOREVER);

    if (result == 0) {
        CHECK_EQ(atomic_fetch_add(&writers, 1), 0);
        gmp_yield();
        atomic_fetch_sub(&writers, 1);
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
    return result;
}

static int read_or_write(long number)
{
    bool writes = number % 3 == 0;
    int result = writes ? gmp_rwmutex_lock_until(&rw, GMP_FOREVER)
                        : gmp_rwmutex_rlock_until(&rw, GMP_FOREVER);

    if (result != 0)
        return result;
    atomic_fetch_add(writes ? &writers : &readers, 1);
    CHECK_EQ(atomic_load(&writers), writes);
    CHECK(!writes || atomic_load(&readers) == 0);
    gmp_yield();
    atomic_fetch_sub(writes ? &writers : &readers, 1);
    CHECK_OK(writes ? gmp_rwmutex_unlock(&rw) : gmp_rwmutex_runlock(&rw));
    return 0;
}

/* What lets the victims go on; none of it may block. */
static void serve_value(long i)
{
    long value = atomic_fetch_add(&numbers, 1);

    if (gmp_chan_try_send(chans[i % 2], &value) == 0)
        put(value);
}

static void take_value(long i)
{
    long value;

    if (gmp_chan_try_recv(chans[i % 2], &value) == 0)
        got(value);
}

static void serve_permit(long i)
{
    CHECK_OK(gmp_sema_release(&sema));
    put(1);
}

static void use_mutex(long i)
{
    lock(i);
}

static void use_rwmutex(long i)
{
    read_or_write(i);
}

static void drain(void)
{
    long value;

    for (int i = 0; i < 2; i++)
        while (gmp_chan_try_recv(chans[i], &value) == 0)
            got(value);
    while (gmp_sema_try_acquire(&sema) == 0)
        got(1);
    CHECK_OK(gmp_mutex_trylock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_rwmutex_trylock(&rw));
    CHECK_OK(gmp_rwmutex_unlock(&rw));
}

static const struct race {
    int (*wait)(long number);
    void (*serve)(long i);
    size_t capacity;
    bool same; /* both channels are one */
} races[] = {
    {receive, serve_value, 0, true},         {receive, serve_value, 2, true},
    {send, take_value, 0, true},             {send, take_value, 2, true},
    {select_receive, serve_value, 0, false}, {select_receive, serve_value, 1,
                                              false},
    {select_send, take_value, 0, false},     {acquire, serve_permit, 0, true},
    {lock, use_mutex, 0, true},              {read_or_write, use_rwmutex, 0,
                                              true},
};

static const struct race *race;

static void be_victim(void *number)
{
    int result;

    atomic_fetch_add(&ready_victims, 1);
    result = race->wait((intptr_t)number);
    CHECK(result == 0 || result == -ECANCELED);
    atomic_fetch_add(result == 0 ? &granted : &cancelled, 1);
}

static void serve_victims(void *arg)
{
    for (long i = 0; i < VICTIMS; i++)
        race->serve(i);
}

static void cancel_victims(void *arg)
{
    gmp_g **victims = arg;

    for (int i = 0; i < VICTIMS; i++) {
        int result = gmp_cancel(victims[i]);

        CHECK(result == 0 || result == -EINVAL);
    }
}

static void run_race(bool serve_first)
{
    gmp_g *victims[VICTIMS], *racers[2];

    atomic_store(&ready_victims, 0);
    atomic_store(&granted, 0);
    atomic_store(&cancelled, 0);
    for (intptr_t i = 0; i < VICTIMS; i++)
        victims[i] = spawn(be_victim, (void *)i);
    while (atomic_load(&ready_victims) < VICTIMS)
        gmp_yield();
    /* The one that is started last is likely to run first. */
    racers[0] = spawn(serve_first ? cancel_victims : serve_victims, victims);
    racers[1] = spawn(serve_first ? serve_victims : cancel_victims, victims);
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_join(racers[i]));
    for (int i = 0; i < VICTIMS; i++)
        CHECK_OK(gmp_join(victims[i]));
    CHECK_EQ(atomic_load(&granted) + atomic_load(&cancelled), VICTIMS);
    drain();
    CHECK_EQ(atomic_load(&in), atomic_load(&out));
    CHECK_EQ(atomic_load(&sum_in), atomic_load(&sum_out));
}

static void nothing_is_lost(void *arg)
{
    race = arg;
    chans[0] = gmp_chan_make(sizeof(long), race->capacity);
    chans[1] = race->same ? gmp_chan_ref(chans[0])
                          : gmp_chan_make(sizeof(long), race->capacity);
    for (int i = 0; i < test_times(RACES); i++)
        run_race(i % 2);
    gmp_chan_unref(chans[0]);
    gmp_chan_unref(chans[1]);
}

/* Two wait for a condition, and the first is both signalled and cancelled, in
 * either order or at once. A signal that it does not take is the second's. */
static gmp_cond cond = GMP_COND_INIT;
static int waiting; /* lock: mutex */

static void wait_for_signal(void *result)
{
    CHECK_OK(gmp_mutex_lock(&mutex));
    waiting++;
    *(int *)result = gmp_cond_wait(&cond, &mutex);
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static gmp_g *start_waiter(int *result)
{
    gmp_g *g;
    int before;

    CHECK_OK(gmp_mutex_lock(&mutex));
    before = waiting;
    g = spawn(wait_for_signal, result);
    while (waiting == before) {
        CHECK_OK(gmp_mutex_unlock(&mutex));
        gmp_yield();
        CHECK_OK(gmp_mutex_lock(&mutex));
    }
    CHECK_OK(gmp_mutex_unlock(&mutex));
    return g;
}

static void signal_one(void *arg)
{
    CHECK_OK(gmp_cond_signal(&cond));
}

static void cancel_one(void *g)
{
    int result = gmp_cancel(g);

    CHECK(result == 0 || result == -EINVAL);
}

static void no_signal_is_lost(void *arg)
{
    for (int i = 0; i < test_times(SIGNALS); i++) {
        int results[2] = {9, 9};
        gmp_g *first = start_waiter(&results[0]);
        gmp_g *second = start_waiter(&results[1]);
        gmp_g *other = NULL;

        if (i % 4 == 3)
            other = spawn(signal_one, NULL);
        if (i % 2 == 0)
            signal_one(NULL);
        cancel_one(first);
        if (i % 4 == 1)
            signal_one(NULL);
        if (other)
            CHECK_OK(gmp_join(other));
        CHECK_OK(gmp_join(first));
        if (results[0] == 0)
            CHECK_OK(gmp_cancel(second));
        CHECK_OK(gmp_join(second));
        CHECK(results[0] == 0 || results[0] == -ECANCELED);
        CHECK_EQ(results[1], results[0] == 0 ? -ECANCELED : 0);
    }
}

/* A reader waits behind a writer that waits; once that is cancelled, there is
 * nothing left to wait for. */
static void write_in_vain(void *arg)
{
    atomic_fetch_add(&ready_victims, 1);
    CHECK_EQ(gmp_rwmutex_lock_until(&rw, GMP_FOREVER), -ECANCELED);
}

static void read_at_last(void *arg)
{
    atomic_fetch_add(&ready_victims, 1);
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
}

static void cancelled_writer_lets_readers_in(void *arg)
{
    gmp_g *writer, *reader;

    atomic_store(&ready_victims, 0);
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    writer = spawn(write_in_vain, NULL);
    while (gmp_rwmutex_tryrlock(&rw) == 0) {
        CHECK_OK(gmp_rwmutex_runlock(&rw));
        gmp_yield();
    }
    reader = spawn(read_at_last, NULL);
    AWAIT(atomic_load(&ready_victims) == 2);
    CHECK_OK(gmp_sleep(MS(1))); /* until it waits, as far as one can see */
    CHECK_OK(gmp_cancel(writer));
    CHECK_OK(gmp_join(writer));
    CHECK_OK(gmp_join(reader));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
}

/* Targets end and bystanders take their places, while the handles of the
 * targets, released long ago, are cancelled over and over. */
static _Atomic(gmp_g *) targets[SPAWNERS];
static atomic_bool stop;

static void live_shortly(void *turns)
{
    for (intptr_t i = 0; i < (intptr_t)turns; i++)
        gmp_yield();
}

static void stand_by(void *group)
{
    for (int i = 0; i < 6; i++) {
        CHECK(!gmp_cancelled());
        CHECK_OK(gmp_sleep(0));
    }
    CHECK_OK(gmp_waitgroup_done(group));
}

static void spawn_in_turn(void *arg)
{
    intptr_t which = (intptr_t)arg;
    gmp_waitgroup group = GMP_WAITGROUP_INIT;

    for (intptr_t i = 0; i < test_times(REUSES); i++) {
        gmp_g *target = spawn(live_shortly, (void *)(i % 8));

        atomic_store(&targets[which], target);
        gmp_release(target);
        for (int j = 0; j < 2; j++) {
            CHECK_OK(gmp_waitgroup_add(&group, 1));
            CHECK_OK(gmp_go(stand_by, &group));
            gmp_yield();
        }
        if (i % 4 == 0)
            CHECK_OK(gmp_waitgroup_wait(&group));
    }
    CHECK_OK(gmp_waitgroup_wait(&group));
}

static void *cancel_targets(void *arg)
{
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        int result = gmp_cancel(atomic_load(&targets[i / 64 % SPAWNERS]));

        CHECK(result == 0 || result == -EINVAL);
    }
    return NULL;
}

static void successors_are_spared(void)
{
    pthread_t threads[CANCELLERS];
    gmp_g *gs[SPAWNERS];

    for (int i = 0; i < CANCELLERS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, cancel_targets, NULL));
    for (intptr_t i = 0; i < SPAWNERS; i++)
        gs[i] = spawn(spawn_in_turn, (void *)i);
    for (int i = 0; i < SPAWNERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    atomic_store(&stop, true);
    for (int i = 0; i < CANCELLERS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
}

int test_main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof races / sizeof *races; i++)
        CHECK_OK(gmp_join(spawn(nothing_is_lost, (void *)&races[i])));
    nothing_is_lost((void *)&races[0]); /* from a host thread */
    CHECK_OK(gmp_join(spawn(no_signal_is_lost, NULL)));
    CHECK_OK(gmp_join(spawn(cancelled_writer_lets_readers_in, NULL)));
    successors_are_spared();
    return 0;
}
