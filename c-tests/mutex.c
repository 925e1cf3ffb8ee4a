/* Mutexes: one at a time, whoever asks; nobody waits for ever. */
#include "test.h"

enum { USERS = 40, ROUNDS = 300 };

static gmp_mutex mutex = GMP_MUTEX_INIT;
static atomic_int inside;
static long counter; /* lock: mutex */

static void use(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(gmp_mutex_lock(&mutex));
        CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
        counter++;
        if (i % 5 == 0)
            gmp_yield();
        if (i % 97 == 0)
            CHECK_OK(gmp_sleep(US(20)));
        if (i % 151 == 0)
            block_ns(US(20));
        atomic_fetch_sub(&inside, 1);
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
}

static void *use_on_thread(void *arg)
{
    use(arg);
    return NULL;
}

static void one_at_a_time(void)
{
    gmp_g *users[USERS];
    pthread_t threads[4];

    for (int i = 0; i < USERS; i++)
        users[i] = spawn(use, NULL);
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, use_on_thread, NULL));
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    for (int i = 0; i < USERS; i++)
        CHECK_OK(gmp_join(users[i]));
    CHECK_EQ(counter, (USERS + 4) * ROUNDS);
}

static void try_fails(void *arg)
{
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
}

static void try_never_waits(void)
{
    CHECK_OK(gmp_mutex_trylock(&mutex));
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    CHECK_OK(gmp_join(spawn(try_fails, NULL)));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_mutex_trylock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void unlocked_stays_unlocked(void)
{
    gmp_mutex fresh = GMP_MUTEX_INIT;

    CHECK_EQ(gmp_mutex_unlock(&fresh), -EPERM);
    CHECK_EQ(gmp_mutex_unlock(&mutex), -EPERM);
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_EQ(gmp_mutex_unlock(&mutex), -EPERM);
}

static void unlock_for_another(void *arg)
{
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void locked_here_unlocked_there(void)
{
    for (int i = 0; i < 5; i++) {
        CHECK_OK(gmp_mutex_lock(&mutex));
        CHECK_OK(gmp_go(unlock_for_another, NULL));
        CHECK_OK(gmp_mutex_lock(&mutex));
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
}

static atomic_bool stop;

/* Holds the mutex almost all the time, and wants it again at once. */
static void hog(void *arg)
{
    while (!atomic_load(&stop)) {
        CHECK_OK(gmp_mutex_lock(&mutex));
        spin_ns(US(100));
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
}

static void nobody_starves(void)
{
    gmp_g *hogs[2] = {spawn(hog, NULL), spawn(hog, NULL)};

    for (int i = 0; i < 5; i++) {
        CHECK_OK(gmp_mutex_lock(&mutex));
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
    atomic_store(&stop, true);
    CHECK_OK(gmp_join(hogs[0]));
    CHECK_OK(gmp_join(hogs[1]));
}

int test_main(int argc, char **argv)
{
    one_at_a_time();
    try_never_waits();
    unlocked_stays_unlocked();
    locked_here_unlocked_there();
    nobody_starves();
    return 0;
}
