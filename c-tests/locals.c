/* Goroutine-local storage: each goroutine and host thread has values of its
 * own, takes them along from thread to thread, and leaves them to destructors
 * at its end, after its defers. */
#include "events.h"

enum { GOROUTINES = 100, TURNS = 50, MANY = 500, CROWD = 5000, REUSES = 2000,
       ROUNDS = 4 };

static gmp_key *key, *other;
static atomic_long destroyed, threads_changed;

static void count(void *value)
{
    CHECK(value != NULL);
    atomic_fetch_add(&destroyed, 1);
}

static void set(gmp_key *k, intptr_t value)
{
    CHECK_OK(gmp_setspecific(k, (void *)value));
    CHECK_EQ(gmp_getspecific(k), value);
}

static gmp_key *make(void (*destructor)(void *))
{
    gmp_key *k = gmp_key_create(destructor);

    CHECK(k != NULL);
    CHECK_EQ(gmp_getspecific(k), 0);
    return k;
}

static void keep_own_values(void *arg)
{
    intptr_t me = (intptr_t)arg;
    long thread = thread_id();

    CHECK_EQ(gmp_getspecific(key), 0);
    CHECK_EQ(gmp_getspecific(other), 0);
    set(key, me);
    set(other, -me);
    for (int i = 0; i < TURNS; i++) {
        if ((i + me) % 25 == 0)
            block_ns(US(300)); /* the others move on */
        gmp_yield();
        atomic_fetch_add(&threads_changed, thread_id() != thread);
        thread = thread_id();
        CHECK_EQ(gmp_getspecific(key), me);
        CHECK_EQ(gmp_getspecific(other), -me);
        if (i % 10 == 0) {
            set(key, me += 1000);
            set(other, -me);
        }
    }
    set(other, 0);
}

static void *keep_on_thread(void *arg)
{
    keep_own_values(arg);
    return NULL;
}

/* Whoever blocks its thread and then yields goes on elsewhere, as a rule. */
static void move(void *arg)
{
    long thread = thread_id();

    set(key, (intptr_t)arg);
    for (int i = 0; i < TURNS && atomic_load(&threads_changed) < 8; i++) {
        block_ns(MS(1));
        gmp_yield();
        CHECK_OK(gmp_sleep(US(20)));
        CHECK_EQ(gmp_getspecific(key), (intptr_t)arg);
        atomic_fetch_add(&threads_changed, thread_id() != thread);
        thread = thread_id();
    }
}

static void values_travel(void)
{
    gmp_g *gs[8];

    atomic_store(&threads_changed, 0);
    for (intptr_t i = 0; i < 8; i++)
        gs[i] = spawn(move, (void *)(i + 1));
    for (int i = 0; i < 8; i++)
        CHECK_OK(gmp_join(gs[i]));
}

static void everybody_has_its_own(void *arg)
{
    gmp_g *gs[GOROUTINES];
    pthread_t threads[4];

    key = make(count);
    other = make(count);
    set(key, 77);
    atomic_store(&destroyed, 0);
    for (intptr_t i = 0; i < GOROUTINES; i++)
        gs[i] = spawn(keep_own_values, (void *)(i + 1));
    for (intptr_t i = 0; i < 4; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, keep_on_thread,
                                (void *)(i + 501)));
    for (int i = 0; i < GOROUTINES; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(atomic_load(&destroyed), GOROUTINES + 4);
    values_travel();
    CHECK_EQ(gmp_getspecific(key), 77);
    CHECK_EQ(gmp_getspecific(other), 0);
    CHECK_OK(gmp_key_delete(key));
    CHECK_OK(gmp_key_delete(other));
}

/* Sees no value of its own any more, and gives itself one again. */
static void set_again(void *value)
{
    CHECK_EQ(gmp_getspecific(key), 0);
    note(value);
    set(key, (intptr_t)value + 1);
}

static void set_for_ever(void *arg)
{
    set(key, 1);
}

static void set_and_exit(void *arg)
{
    set(key, 1);
    gmp_exit();
}

/* Sets the value of another key, which is then destroyed as well. */
static void set_other(void *value)
{
    note(value);
    if (gmp_getspecific(other) == NULL)
        set(other, (intptr_t)value + 1);
}

static void set_one_of_two(void *arg)
{
    set(key, 1);
}

static void *set_on_thread(void *arg)
{
    set(key, 1);
    return NULL;
}

static void destructors_go_round(void)
{
    pthread_t thread;

    key = make(set_again);
    EXPECT(set_for_ever, 1, 2, 3, 4);
    EXPECT(set_and_exit, 1, 2, 3, 4);
    EXPECT(set_for_ever, 1, 2, 3, 4); /* nothing is left of the last value */
    happened = 0;
    CHECK_OK(pthread_create(&thread, NULL, set_on_thread, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(happened, ROUNDS);
    CHECK_OK(gmp_key_delete(key));

    /* Whichever of the two keys comes first in a round. */
    for (int i = 0; i < 2; i++) {
        gmp_key *first = make(i ? note : set_other);
        gmp_key *second = make(i ? set_other : note);

        key = i ? second : first;
        other = i ? first : second;
        EXPECT(set_one_of_two, 1, 2);
        CHECK_OK(gmp_key_delete(first));
        CHECK_OK(gmp_key_delete(second));
    }
}

static void see_and_set(void *arg)
{
    note(gmp_getspecific(key));
    set(key, (intptr_t)arg);
}

static void set_and_defer(void *arg)
{
    CHECK_OK(gmp_defer(see_and_set, (void *)3));
    CHECK_OK(gmp_defer(see_and_set, (void *)2));
    set(key, 1);
}

static void unset_in_defer(void *arg)
{
    note(gmp_getspecific(key));
    CHECK_OK(gmp_setspecific(key, NULL));
}

static void set_and_defer_unset(void *arg)
{
    CHECK_OK(gmp_defer(unset_in_defer, NULL));
    set(key, 1);
}

static void defers_come_first(void)
{
    key = make(note);
    EXPECT(set_and_defer, 1, 2, 3);
    EXPECT(set_and_defer_unset, 1);
    CHECK_OK(gmp_key_delete(key));
}

static void finish(void *arg)
{
    gmp_yield();
}

/* Destructors may block, and a cancel does not end that. */
static void block_in_destructor(void *value)
{
    CHECK_OK(gmp_sleep(US(20)));
    CHECK_OK(gmp_join(spawn(finish, NULL)));
    note(value);
}

static void set_and_be_cancelled(void *arg)
{
    set(key, 1);
    CHECK_OK(gmp_cancel(gmp_self()));
    CHECK_EQ(gmp_sleep(1), -ECANCELED);
}

static void destructors_may_block(void)
{
    key = make(block_in_destructor);
    EXPECT(set_for_ever, 1);
    EXPECT(set_and_exit, 1);
    EXPECT(set_and_be_cancelled, 1);
    CHECK_OK(gmp_key_delete(key));
}

static void without_destructor(void *arg)
{
    key = make(NULL);
    CHECK_OK(gmp_join(spawn(set_for_ever, NULL)));
    set(key, 5);
    set(key, 6);
    CHECK_OK(gmp_setspecific(key, NULL));
    CHECK_EQ(gmp_getspecific(key), 0);
    CHECK_OK(gmp_key_delete(key));
}

static gmp_chan *gate;

static void expect_stale(gmp_key *k)
{
    CHECK_EQ(gmp_getspecific(k), 0);
    CHECK_EQ(gmp_setspecific(k, (void *)1), -EINVAL);
    CHECK_EQ(gmp_setspecific(k, NULL), -EINVAL);
    CHECK_EQ(gmp_key_delete(k), -EINVAL);
}

/* So many keys that one of them has the place of any that was deleted; or as
 * many as there are. */
static gmp_key *crowd[CROWD];
static int crowded;

static void make_crowd(void)
{
    crowded = 0;
    while (crowded < CROWD && (crowd[crowded] = gmp_key_create(count)) != NULL)
        crowded++;
    CHECK(crowded >= MANY);
}

static void expect_no_values(void)
{
    for (int i = 0; i < crowded; i++)
        CHECK_EQ(gmp_getspecific(crowd[i]), 0);
}

/* Has a value of `key` when that is deleted, and ends with another key in its
 * place. */
static void outlive_key(void *arg)
{
    set(key, 1);
    CHECK_OK(gmp_chan_send(gate, NULL));
    CHECK_OK(gmp_chan_recv(gate, NULL));
    expect_stale(key);
    expect_no_values();
}

static void deleted_keys_are_gone(void *arg)
{
    gmp_g *g;

    gate = gmp_chan_make(0, 0);
    expect_stale(NULL);
    expect_stale((gmp_key *)UINTPTR_MAX);
    atomic_store(&destroyed, 0);
    for (int round = 0; round < 5; round++) {
        key = make(count);
        g = spawn(outlive_key, NULL);
        CHECK_OK(gmp_chan_recv(gate, NULL));
        set(key, 2);
        CHECK_OK(gmp_key_delete(key));
        expect_stale(key);
        make_crowd();
        expect_stale(key);
        expect_no_values();
        CHECK_OK(gmp_chan_send(gate, NULL));
        CHECK_OK(gmp_join(g));
        for (int i = 0; i < crowded; i++)
            CHECK_OK(gmp_key_delete(crowd[i]));
    }
    CHECK_EQ(atomic_load(&destroyed), 0);
    gmp_chan_unref(gate);
}

static gmp_key *keys[MANY];

static void use_many(void *arg)
{
    intptr_t me = (intptr_t)arg;

    for (int i = 0; i < MANY; i++)
        CHECK_EQ(gmp_getspecific(keys[i]), 0);
    for (int i = MANY - 1; i >= 0; i--)
        set(keys[i], me + i);
    gmp_yield();
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(gmp_getspecific(keys[i]), me + i);
}

static void use_last(void *arg)
{
    set(keys[MANY - 1], 1);
}

static void *use_many_on_thread(void *arg)
{
    use_many(arg);
    return NULL;
}

static void many_keys(void *arg)
{
    gmp_g *gs[5];
    pthread_t thread;

    atomic_store(&destroyed, 0);
    for (int i = 0; i < MANY; i++) {
        keys[i] = make(count);
        CHECK(i == 0 || keys[i] != keys[i - 1]);
    }
    for (intptr_t i = 0; i < 5; i++)
        gs[i] = spawn(i < 4 ? use_many : use_last, (void *)(i * MANY + 1));
    CHECK_OK(pthread_create(&thread, NULL, use_many_on_thread, (void *)1));
    for (int i = 0; i < 5; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(atomic_load(&destroyed), 5 * MANY + 1);
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_key_delete(keys[i]));
    CHECK_EQ(atomic_load(&destroyed), 5 * MANY + 1);
}

static void start_empty(void *arg)
{
    CHECK_EQ(gmp_getspecific(key), 0);
    CHECK_EQ(gmp_getspecific(other), 0);
    set(other, 1);
    if ((intptr_t)arg % 2)
        set(key, (intptr_t)arg);
}

/* Goroutines that take the places of others do not find their values, with
 * a destructor or without. */
static void places_are_used_again(void *arg)
{
    atomic_store(&destroyed, 0);
    key = make(count);
    other = make(NULL);
    for (intptr_t i = 0; i < REUSES; i++)
        CHECK_OK(gmp_join(spawn(start_empty, (void *)i)));
    CHECK_EQ(atomic_load(&destroyed), REUSES / 2);
    CHECK_OK(gmp_key_delete(key));
    CHECK_OK(gmp_key_delete(other));
}

/* A host thread's values are its own, whatever runs on it, and go in it. */
static pthread_t owner;

static void see_owner(void *value)
{
    CHECK(pthread_equal(pthread_self(), owner));
    CHECK_OK(gmp_sleep(US(10)));
    note(value);
}

static void set_differently(void *arg)
{
    CHECK_EQ(gmp_getspecific(key), 0);
    set(key, 5);
    gmp_yield();
    CHECK_EQ(gmp_getspecific(key), 5);
    CHECK_OK(gmp_setspecific(key, NULL));
}

static void *own_values(void *arg)
{
    owner = pthread_self();
    set(key, 1);
    for (int i = 0; i < 20; i++)
        CHECK_OK(gmp_join(spawn(set_differently, NULL)));
    CHECK_EQ(gmp_getspecific(key), 1);
    set(key, 2);
    if (arg)
        pthread_exit(NULL);
    return NULL;
}

static void host_threads_have_values(void)
{
    pthread_t thread;

    key = make(see_owner);
    happened = 0;
    for (intptr_t i = 0; i < 10; i++) {
        CHECK_OK(pthread_create(&thread, NULL, own_values, (void *)(i % 2)));
        CHECK_OK(pthread_join(thread, NULL));
        CHECK_EQ(happened, i + 1);
        CHECK_EQ(events[i], 2);
    }
    CHECK_OK(gmp_key_delete(key));
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        everybody_has_its_own, without_destructor, deleted_keys_are_gone,
        many_keys,             places_are_used_again,
    };

    /* The first call of this thread may well be this one. */
    CHECK_EQ(gmp_getspecific(NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    destructors_go_round();
    defers_come_first();
    destructors_may_block();
    host_threads_have_values();
    return 0;
}
