/* Misuse of the objects that lie in the caller's memory. The rows of badargs.c
 * are not repeated. */
#include "misuse.h"

static void leave_it(void)
{
}

/* Mutexes. */

static gmp_mutex mutex;

static void make_mutex(void)
{
    memset(&mutex, 0, sizeof mutex);
}

static void use_mutex(void)
{
    CHECK_OK(gmp_mutex_lock_until(&mutex, GMP_FOREVER));
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static int lock_mutex_twice(int64_t deadline)
{
    int result;

    CHECK_OK(gmp_mutex_lock(&mutex));
    result = gmp_mutex_lock_until(&mutex, deadline);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    return result;
}

static int unlock_what_was_not_got(void)
{
    CHECK_EQ(lock_mutex_twice(0), -ETIMEDOUT);
    return gmp_mutex_unlock(&mutex);
}

#define MUTEX(X)                                                            \
    X(mutex_lock_until_null, gmp_mutex_lock_until(NULL, GMP_FOREVER),       \
      -EINVAL)                                                              \
    X(mutex_lock_until_null_past, gmp_mutex_lock_until(NULL, 0), -EINVAL)   \
    X(mutex_lock_twice_past, lock_mutex_twice(INT64_MIN), -ETIMEDOUT)       \
    X(mutex_lock_twice, lock_mutex_twice(gmp_after_ns(US(50))), -ETIMEDOUT) \
    X(mutex_unlock_after_timeout, unlock_what_was_not_got(), -EPERM)
TABLE(MUTEX)

/* Read-write mutexes. */

static gmp_rwmutex rw;

static void make_rw(void)
{
    memset(&rw, 0, sizeof rw);
}

static void use_rw(void)
{
    CHECK_OK(gmp_rwmutex_lock(&rw));
    CHECK_EQ(gmp_rwmutex_tryrlock(&rw), -EAGAIN);
    CHECK_OK(gmp_rwmutex_unlock(&rw));
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_EQ(gmp_rwmutex_trylock(&rw), -EAGAIN);
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
}

/* The result of a call between a lock and its unlock. */
static int locked_rw(int (*call)(gmp_rwmutex *))
{
    int result;

    CHECK_OK(gmp_rwmutex_lock(&rw));
    result = call(&rw);
    CHECK_OK(gmp_rwmutex_unlock(&rw));
    return result;
}

static int rlocked_rw(int (*call)(gmp_rwmutex *))
{
    int result;

    CHECK_OK(gmp_rwmutex_rlock(&rw));
    result = call(&rw);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    return result;
}

static int lock_briefly(gmp_rwmutex *m)
{
    return gmp_rwmutex_lock_until(m, gmp_after_ns(US(50)));
}

static int rlock_briefly(gmp_rwmutex *m)
{
    return gmp_rwmutex_rlock_until(m, gmp_after_ns(US(50)));
}

#define RWMUTEX(X)                                                       \
    X(rw_lock_null, gmp_rwmutex_lock(NULL), -EINVAL)                     \
    X(rw_unlock_null, gmp_rwmutex_unlock(NULL), -EINVAL)                 \
    X(rw_rlock_null, gmp_rwmutex_rlock(NULL), -EINVAL)                   \
    X(rw_runlock_null, gmp_rwmutex_runlock(NULL), -EINVAL)               \
    X(rw_trylock_null, gmp_rwmutex_trylock(NULL), -EINVAL)               \
    X(rw_tryrlock_null, gmp_rwmutex_tryrlock(NULL), -EINVAL)             \
    X(rw_lock_until_null, gmp_rwmutex_lock_until(NULL, 0), -EINVAL)      \
    X(rw_rlock_until_null, gmp_rwmutex_rlock_until(NULL, 0), -EINVAL)    \
    X(rw_unlock_unlocked, gmp_rwmutex_unlock(&rw), -EPERM)               \
    X(rw_runlock_unlocked, gmp_rwmutex_runlock(&rw), -EPERM)             \
    X(rw_unlock_of_reader, rlocked_rw(gmp_rwmutex_unlock), -EPERM)       \
    X(rw_runlock_of_writer, locked_rw(gmp_rwmutex_runlock), -EPERM)      \
    X(rw_unlock_twice, (locked_rw(gmp_rwmutex_trylock),                  \
                        gmp_rwmutex_unlock(&rw)), -EPERM)                \
    X(rw_runlock_twice, (rlocked_rw(gmp_rwmutex_trylock),                \
                         gmp_rwmutex_runlock(&rw)), -EPERM)              \
    X(rw_lock_twice, locked_rw(lock_briefly), -ETIMEDOUT)                \
    X(rw_downgrade, locked_rw(rlock_briefly), -ETIMEDOUT)                \
    X(rw_upgrade, rlocked_rw(lock_briefly), -ETIMEDOUT)
TABLE(RWMUTEX)

/* Conditions. */

static gmp_cond cond;

static void make_cond(void)
{
    make_mutex();
    memset(&cond, 0, sizeof cond);
}

static void signal_cond(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_cond_signal(&cond));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void use_cond(void)
{
    gmp_g *g;

    CHECK_OK(gmp_mutex_lock(&mutex));
    g = spawn(signal_cond, NULL);
    CHECK_OK(gmp_cond_wait(&cond, &mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_join(g));
}

#define COND(X)                                                            \
    X(cond_wait_null, gmp_cond_wait(NULL, &mutex), -EINVAL)                \
    X(cond_wait_null_mutex, gmp_cond_wait(&cond, NULL), -EINVAL)           \
    X(cond_wait_nulls, gmp_cond_wait(NULL, NULL), -EINVAL)                 \
    X(cond_wait_until_null, gmp_cond_wait_until(NULL, &mutex, 0), -EINVAL) \
    X(cond_wait_until_null_mutex, gmp_cond_wait_until(&cond, NULL, 0),     \
      -EINVAL)                                                             \
    X(cond_signal_null, gmp_cond_signal(NULL), -EINVAL)                    \
    X(cond_broadcast_null, gmp_cond_broadcast(NULL), -EINVAL)              \
    X(cond_wait_unlocked, gmp_cond_wait(&cond, &mutex), -EPERM)            \
    X(cond_wait_until_unlocked,                                            \
      gmp_cond_wait_until(&cond, &mutex, GMP_FOREVER), -EPERM)             \
    X(cond_signal_nobody, gmp_cond_signal(&cond), 0)                       \
    X(cond_broadcast_nobody, gmp_cond_broadcast(&cond), 0)
TABLE(COND)

/* Semaphores. */

static gmp_sema sema, full;
static gmp_barrier two = GMP_BARRIER_INIT(2);

static void make_sema(void)
{
    static const gmp_sema one = GMP_SEMA_INIT(1);
    static const gmp_sema most = GMP_SEMA_INIT(INT32_MAX);

    sema = one;
    full = most;
}

static void use_sema(void)
{
    CHECK_OK(gmp_sema_acquire(&sema));
    CHECK_EQ(gmp_sema_try_acquire(&sema), -EAGAIN);
    CHECK_EQ(gmp_sema_acquire_until(&sema, 0), -ETIMEDOUT);
    CHECK_OK(gmp_sema_release(&sema));
    CHECK_OK(gmp_sema_acquire(&full));
    CHECK_OK(gmp_sema_release(&full));
}

#define SEMA(X)                                                        \
    X(sema_acquire_null, gmp_sema_acquire(NULL), -EINVAL)              \
    X(sema_try_acquire_null, gmp_sema_try_acquire(NULL), -EINVAL)      \
    X(sema_acquire_until_null, gmp_sema_acquire_until(NULL, 0), -EINVAL) \
    X(sema_release_null, gmp_sema_release(NULL), -EINVAL)              \
    X(sema_release_full, gmp_sema_release(&full), -EOVERFLOW)
TABLE(SEMA)

/* Wait groups. */

static gmp_waitgroup wg;

static void make_wg(void)
{
    memset(&wg, 0, sizeof wg);
}

static void finish_one(void *arg)
{
    CHECK_OK(gmp_waitgroup_done(&wg));
}

static void use_wg(void)
{
    CHECK_OK(gmp_waitgroup_wait_until(&wg, 0));
    CHECK_OK(gmp_waitgroup_add(&wg, 2));
    CHECK_OK(gmp_go(finish_one, NULL));
    CHECK_OK(gmp_go(finish_one, NULL));
    CHECK_OK(gmp_waitgroup_wait(&wg));
}

static int done_too_often(void)
{
    CHECK_OK(gmp_waitgroup_add(&wg, 1));
    CHECK_OK(gmp_waitgroup_done(&wg));
    return gmp_waitgroup_done(&wg);
}

static int add_to_the_most(int64_t delta)
{
    int result;

    CHECK_OK(gmp_waitgroup_add(&wg, INT32_MAX));
    result = gmp_waitgroup_add(&wg, delta);
    CHECK_EQ(gmp_waitgroup_wait_until(&wg, 0), -ETIMEDOUT);
    CHECK_OK(gmp_waitgroup_add(&wg, -INT32_MAX));
    return result;
}

#define WAITGROUP(X)                                                        \
    X(wg_wait_until_null, gmp_waitgroup_wait_until(NULL, 0), -EINVAL)       \
    X(wg_wait_until_null_forever,                                           \
      gmp_waitgroup_wait_until(NULL, GMP_FOREVER), -EINVAL)                 \
    X(wg_done_too_often, done_too_often(), -EINVAL)                         \
    X(wg_add_2_31, gmp_waitgroup_add(&wg, INT64_C(1) << 31), -EINVAL)       \
    X(wg_add_2_32, gmp_waitgroup_add(&wg, INT64_C(1) << 32), -EINVAL)       \
    X(wg_add_minus_2_32, gmp_waitgroup_add(&wg, -(INT64_C(1) << 32)),       \
      -EINVAL)                                                              \
    X(wg_add_1_to_the_most, add_to_the_most(1), -EINVAL)                    \
    X(wg_add_much_to_the_most, add_to_the_most(INT64_MAX), -EINVAL)         \
    X(wg_take_much_from_the_most, add_to_the_most(INT64_MIN), -EINVAL)
TABLE(WAITGROUP)

/* Onces. */

static gmp_once once, over;

static void make_once(void)
{
    memset(&once, 0, sizeof once);
    memset(&over, 0, sizeof over);
    CHECK_OK(gmp_once_do(&over, nothing, NULL));
}

static void use_once(void)
{
    atomic_int runs = 0;

    CHECK_OK(gmp_once_do(&once, count, &runs));
    CHECK_OK(gmp_once_do_until(&once, count, &runs, 0));
    CHECK_OK(gmp_once_do(&over, count, &runs));
    CHECK_EQ(atomic_load(&runs), 1);
}

#define ONCE(X)                                                            \
    X(once_do_null, gmp_once_do(NULL, nothing, NULL), -EINVAL)             \
    X(once_do_null_fn, gmp_once_do(&once, NULL, NULL), -EINVAL)            \
    X(once_do_nulls, gmp_once_do(NULL, NULL, NULL), -EINVAL)               \
    X(once_do_until_null, gmp_once_do_until(NULL, nothing, NULL, 0),       \
      -EINVAL)                                                             \
    X(once_do_until_null_fn,                                               \
      gmp_once_do_until(&once, NULL, NULL, GMP_FOREVER), -EINVAL)          \
    X(once_do_null_fn_over, gmp_once_do(&over, NULL, NULL), -EINVAL)
TABLE(ONCE)

/* All of them at once, such that whoever wants them has to wait. */

static void occupy(void)
{
    make_cond();
    make_rw();
    make_sema();
    make_wg();
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_rwmutex_lock(&rw));
    CHECK_OK(gmp_sema_acquire(&sema));
    CHECK_OK(gmp_waitgroup_add(&wg, 1));
}

static void vacate(void)
{
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_rwmutex_unlock(&rw));
    CHECK_OK(gmp_sema_release(&sema));
    CHECK_OK(gmp_waitgroup_done(&wg));
    use_cond();
    use_mutex();
    use_rw();
    use_sema();
    use_wg();
}

#define UNLOCKF(X)                                                           \
    X(unlockf_lock_until, gmp_mutex_lock_until(&mutex, GMP_FOREVER),         \
      -EDEADLK)                                                              \
    X(unlockf_rw_lock, gmp_rwmutex_lock(&rw), -EDEADLK)                      \
    X(unlockf_rw_rlock, gmp_rwmutex_rlock(&rw), -EDEADLK)                    \
    X(unlockf_rw_lock_until, gmp_rwmutex_lock_until(&rw, GMP_FOREVER),       \
      -EDEADLK)                                                              \
    X(unlockf_rw_rlock_until, gmp_rwmutex_rlock_until(&rw, GMP_FOREVER),     \
      -EDEADLK)                                                              \
    X(unlockf_cond_wait, gmp_cond_wait(&cond, &mutex), -EDEADLK)             \
    X(unlockf_cond_wait_until,                                               \
      gmp_cond_wait_until(&cond, &mutex, GMP_FOREVER), -EDEADLK)             \
    X(unlockf_acquire, gmp_sema_acquire(&sema), -EDEADLK)                    \
    X(unlockf_acquire_until, gmp_sema_acquire_until(&sema, GMP_FOREVER),     \
      -EDEADLK)                                                              \
    X(unlockf_barrier, gmp_barrier_wait(&two), -EDEADLK)                     \
    X(unlockf_barrier_until, gmp_barrier_wait_until(&two, GMP_FOREVER),      \
      -EDEADLK)                                                              \
    X(unlockf_wg_wait_until, gmp_waitgroup_wait_until(&wg, GMP_FOREVER),     \
      -EDEADLK)                                                              \
    X(unlockf_trylock, gmp_mutex_trylock(&mutex), -EAGAIN)                   \
    X(unlockf_rw_trylock, gmp_rwmutex_trylock(&rw), -EAGAIN)                 \
    X(unlockf_rw_tryrlock, gmp_rwmutex_tryrlock(&rw), -EAGAIN)               \
    X(unlockf_try_acquire, gmp_sema_try_acquire(&sema), -EAGAIN)             \
    X(unlockf_signal, gmp_cond_signal(&cond), 0)                             \
    X(unlockf_broadcast, gmp_cond_broadcast(&cond), 0)
TABLE(UNLOCKF)

static void park_inside_unlockf(void *arg)
{
    occupy();
    check_in_unlockf(UNLOCKF_ROWS);
    vacate();
}

int test_main(int argc, char **argv)
{
    static const struct object objects[] = {
        {MUTEX_ROWS, make_mutex, use_mutex, leave_it},
        {RWMUTEX_ROWS, make_rw, use_rw, leave_it},
        {COND_ROWS, make_cond, use_cond, leave_it},
        {SEMA_ROWS, make_sema, use_sema, leave_it},
        {WAITGROUP_ROWS, make_wg, use_wg, leave_it},
        {ONCE_ROWS, make_once, use_once, leave_it},
    };

    check_objects(objects, sizeof objects / sizeof *objects);
    CHECK_OK(gmp_join(spawn(park_inside_unlockf, NULL)));
    return 0;
}
