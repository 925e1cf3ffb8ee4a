/* Collections stop threads by SIGURG, or by what GMP_GC_SIGNAL says: a handler
 * of the program's keeps working, and calls that wait in the kernel go on. So
 * do waits of which ThreadSanitizer does not know that they are any, and a
 * thread that computes without a call or an atomic operation. */
#include "shadow.h"

#include <poll.h>
#include <signal.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>

/* Where the tool is a part of the program, a thread that computes could be
 * inside of it. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TOOL_IS_INSIDE
#endif
#endif
#ifdef TOOL_IS_INSIDE
enum { DISTURBED = 8, CALLS = 9 };
#else
enum { DISTURBED = 8, CALLS = 10 };
#endif

static atomic_int came, others, waiting;
static int used = SIGURG;
static int in[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static volatile int computed;

__attribute__((no_sanitize("thread"))) static int compute(void)
{
    while (!computed)
        ;
    return 0;
}

__attribute__((no_sanitize("thread"))) static void end_computing(void)
{
    computed = 1;
}

static void on_urgent(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (sig == used && info->si_code == SI_QUEUE &&
        info->si_value.sival_int == 42)
        atomic_fetch_add(&came, 1);
    else
        atomic_fetch_add(&others, 1);
}

/* One call that waits for half a second, on a thread of its own. */
static void *waits(void *arg)
{
    struct timespec half = {0, MS(500)}, until;
    struct timeval tv = {0, 500000};
    struct epoll_event event;
    int64_t began, took;
    int ep, rc = -1;
    char byte;
    sem_t sem;

    CHECK((ep = epoll_create1(0)) >= 0);
    CHECK_OK(sem_init(&sem, 0, 0));
    CHECK(gmp_gc_alloc(16) != NULL);
    CHECK_OK(clock_gettime(CLOCK_REALTIME, &until));
    until.tv_nsec += MS(500);
    if (until.tv_nsec >= SEC(1)) {
        until.tv_nsec -= SEC(1);
        until.tv_sec++;
    }
    atomic_fetch_add(&waiting, 1);
    began = gmp_now();
    switch ((intptr_t)arg) {
    case 0: rc = poll(NULL, 0, 500); break;
    case 1: rc = nanosleep(&half, NULL); break;
    case 2: rc = epoll_wait(ep, &event, 1, 500); break;
    case 3: rc = sem_timedwait(&sem, &until) == -1 && errno == ETIMEDOUT
                     ? 0 : -1; break;
    case 4: rc = select(0, NULL, NULL, NULL, &tv); break;
    /* To the end. */
    case 5: rc = read(in[0], &byte, 1) == 1 ? 0 : -1; break;
    case 6: rc = pthread_mutex_lock(&mutex); break;
    case 7: rc = pthread_rwlock_rdlock(&rwlock); break;
    case 8: rc = pthread_barrier_wait(&barrier) > 0; break;
    case 9: rc = compute(); break;
    }
    took = gmp_now() - began;
    CHECK_EQ(rc, 0);
    CHECK((intptr_t)arg >= 5 || took >= MS(490));
    if ((intptr_t)arg == 6)
        CHECK_OK(pthread_mutex_unlock(&mutex));
    if ((intptr_t)arg == 7)
        CHECK_OK(pthread_rwlock_unlock(&rwlock));
    CHECK_OK(sem_destroy(&sem));
    CHECK_OK(close(ep));
    return NULL;
}

/* A collection, and a signal of the program's. */
static void disturb(int i)
{
    union sigval value = {42};

    CHECK_OK(gmp_gc());
    CHECK_OK(sigqueue(getpid(), used, value));
    while (atomic_load(&came) <= i)
        block_ns(US(100));
}

int test_main(int argc, char **argv)
{
    struct sigaction action, now;
    pthread_t threads[CALLS];
    const char *other = getenv("GMP_GC_SIGNAL");

    if (other != NULL)
        used = atoi(other);
    (void)argc;
    (void)argv;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_urgent;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    CHECK_OK(sigaction(used, &action, NULL));
    CHECK_OK(pipe(in));
    CHECK_OK(pthread_barrier_init(&barrier, NULL, 2));
    CHECK_OK(pthread_mutex_lock(&mutex));
    CHECK_OK(pthread_rwlock_wrlock(&rwlock));
    for (intptr_t i = 0; i < CALLS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, waits, (void *)i));
    while (atomic_load(&waiting) < CALLS)
        block_ns(US(100));
    block_ns(MS(20));
    for (int i = 0; i < DISTURBED; i++) {
        disturb(i);
        block_ns(MS(30));
    }
    CHECK_EQ(write(in[1], "x", 1), 1);
    CHECK_OK(pthread_mutex_unlock(&mutex));
    CHECK_OK(pthread_rwlock_unlock(&rwlock));
    CHECK(pthread_barrier_wait(&barrier) <= 0);
    end_computing();
    for (int i = 0; i < CALLS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(atomic_load(&came), DISTURBED);
    CHECK_EQ(atomic_load(&others), 0);
    CHECK_OK(sigaction(SIGURG, NULL, &now));
    CHECK((now.sa_handler == SIG_DFL) == (used != SIGURG));
    CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(20))));
    CHECK_OK(sigaction(used, NULL, &now));
    CHECK(now.sa_sigaction == on_urgent);
    return 0;
}
