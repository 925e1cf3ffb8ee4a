/* Locks: objects in memory of your own, for goroutines and threads. */
#include <gmp.h>
#include <stdio.h>

static gmp_mutex lock = GMP_MUTEX_INIT;
static long balance;

/* Changes what several goroutines use. */
static void deposit(long amount)
{
    gmp_mutex_lock(&lock);
    balance += amount;
    gmp_mutex_unlock(&lock);
}

/* Gives up after 10 ms, or at once if `patient` is 0. */
static int try_deposit(long amount, int patient)
{
    int rc = patient ? gmp_mutex_lock_until(&lock, gmp_after_ns(10000000))
                     : gmp_mutex_trylock(&lock);

    if (rc != 0)
        return rc; /* -ETIMEDOUT, -EAGAIN, -ECANCELED */
    balance += amount;
    return gmp_mutex_unlock(&lock);
}

static gmp_rwmutex table_lock = GMP_RWMUTEX_INIT;
static int table[16];

/* Many read at once. */
static int look_up(int i)
{
    int value;

    gmp_rwmutex_rlock(&table_lock);
    value = table[i];
    gmp_rwmutex_runlock(&table_lock);
    return value;
}

/* One writes, and nobody else reads or writes meanwhile. */
static void store(int i, int value)
{
    gmp_rwmutex_lock(&table_lock);
    table[i] = value;
    gmp_rwmutex_unlock(&table_lock);
}

/* A reader with an answer in time, or none. */
static int look_up_soon(int i, int *value)
{
    int rc = gmp_rwmutex_tryrlock(&table_lock);

    if (rc == -EAGAIN)
        rc = gmp_rwmutex_rlock_until(&table_lock, gmp_after_ns(1000000));
    if (rc != 0)
        return rc;
    *value = table[i];
    return gmp_rwmutex_runlock(&table_lock);
}

/* A writer that does not wait for long readers. */
static int store_soon(int i, int value)
{
    int rc = gmp_rwmutex_trylock(&table_lock);

    if (rc == -EAGAIN)
        rc = gmp_rwmutex_lock_until(&table_lock, gmp_after_ns(1000000));
    if (rc != 0)
        return rc;
    table[i] = value;
    return gmp_rwmutex_unlock(&table_lock);
}

static gmp_cond changed = GMP_COND_INIT;
static int waiting_jobs, closed;

/* Waits in a loop, since another goroutine may have been faster. */
static int take_job(void)
{
    int got;

    gmp_mutex_lock(&lock);
    while (waiting_jobs == 0 && !closed)
        if (gmp_cond_wait(&changed, &lock) != 0)
            break; /* cancelled; the mutex is locked all the same */
    got = waiting_jobs > 0;
    waiting_jobs -= got;
    gmp_mutex_unlock(&lock);
    return got;
}

/* Waits at most 5 ms for a job. */
static int take_job_soon(void)
{
    int64_t deadline = gmp_after_ns(5000000);
    int rc = 0;

    gmp_mutex_lock(&lock);
    while (waiting_jobs == 0 && rc == 0)
        rc = gmp_cond_wait_until(&changed, &lock, deadline);
    waiting_jobs -= rc == 0;
    gmp_mutex_unlock(&lock);
    return rc;
}

static void add_job(void)
{
    gmp_mutex_lock(&lock);
    waiting_jobs++;
    gmp_cond_signal(&changed); /* one of those that wait */
    gmp_mutex_unlock(&lock);
}

static void no_more_jobs(void)
{
    gmp_mutex_lock(&lock);
    closed = 1;
    gmp_cond_broadcast(&changed); /* all of them */
    gmp_mutex_unlock(&lock);
}

int main(void)
{
    int value = 0;

    deposit(5);
    if (try_deposit(1, 0) != 0 || try_deposit(1, 1) != 0)
        return 1;
    store(3, 4);
    if (store_soon(2, 9) != 0 || look_up_soon(2, &value) != 0)
        return 1;
    add_job();
    value += take_job();
    if (take_job_soon() != -ETIMEDOUT)
        return 1;
    no_more_jobs();
    value += take_job();
    printf("%ld %d %d\n", balance, look_up(3), value);
    return balance != 7 || value != 10;
}
