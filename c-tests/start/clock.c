/* A program with clocks of its own in the place of libc's, as libfaketime puts
 * them: a day of theirs is a moment, or they stand still. The library makes
 * its deadlines and sleeps for them by the kernel's clock alone, so that all of
 * it is as long as it was asked for.
 *
 * Arguments: "still", "fast" or "ahead", what the program's clocks do. With
 * "alien" they are left alone: something else has replaced them. */
#include "../test.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { SPAN_MS = 20 };

static int64_t real_now(void)
{
    struct timespec t;

    CHECK_OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t));
    return t.tv_sec * SEC(1) + t.tv_nsec;
}

#ifndef ALIEN
static const char *mode = "still";

/* The program's own clocks. Whoever calls them gets nonsense. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    int64_t now = SEC(1000);

    (void)clock;
    if (strcmp(mode, "fast") == 0)
        now = real_now() * 1000;
    if (strcmp(mode, "ahead") == 0)
        now = real_now() + SEC(86400) * 1000;
    t->tv_sec = now / SEC(1);
    t->tv_nsec = now % SEC(1);
    return 0;
}

static int refuse(const char *what)
{
    fprintf(stderr, "the program's own %s was called\n", what);
    _exit(3);
}

/* What sleeps by a clock: nobody but the program is to call these. */
int nanosleep(const struct timespec *t, struct timespec *rest)
{
    (void)t, (void)rest;
    return refuse("nanosleep");
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t,
                    struct timespec *rest)
{
    (void)clock, (void)flags, (void)t, (void)rest;
    return refuse("clock_nanosleep");
}

int usleep(useconds_t us)
{
    (void)us;
    return refuse("usleep");
}

int epoll_wait(int fd, struct epoll_event *events, int room, int ms)
{
    (void)fd, (void)events, (void)room, (void)ms;
    return refuse("epoll_wait");
}

int epoll_pwait(int fd, struct epoll_event *events, int room, int ms,
                const sigset_t *mask)
{
    (void)fd, (void)events, (void)room, (void)ms, (void)mask;
    return refuse("epoll_pwait");
}
#endif

static void took(const char *what, int64_t start)
{
    int64_t span = real_now() - start;

    if (span >= MS(SPAN_MS) && span < SEC(20))
        return;
    fprintf(stderr, "%s took %lld ns\n", what, (long long)span);
    _exit(1);
}

/* Each way to wait for a point in time, on a goroutine or a host thread. */
static void wait_in_all_ways(void *arg)
{
    static gmp_mutex mutex = GMP_MUTEX_INIT;
    static gmp_cond cond = GMP_COND_INIT;
    static gmp_sema sema = GMP_SEMA_INIT(0);
    gmp_chan *tick;
    int64_t start;
    int pair[2];

    (void)arg;
    /* Before the call: its deadline is reckoned from within it. */
    start = real_now();
    tick = gmp_after(MS(SPAN_MS));
    CHECK_OK(gmp_chan_recv(tick, NULL));
    took("gmp_after", start);
    gmp_chan_unref(tick);

    start = real_now();
    CHECK_OK(gmp_sleep(MS(SPAN_MS)));
    took("gmp_sleep", start);

    start = real_now();
    CHECK_EQ(gmp_sema_acquire_until(&sema, gmp_after_ns(MS(SPAN_MS))),
             -ETIMEDOUT);
    took("gmp_sema_acquire_until", start);

    CHECK_OK(gmp_mutex_lock(&mutex));
    start = real_now();
    CHECK_EQ(gmp_cond_wait_until(&cond, &mutex, gmp_after_ns(MS(SPAN_MS))),
             -ETIMEDOUT);
    took("gmp_cond_wait_until", start);
    CHECK_OK(gmp_mutex_unlock(&mutex));

    CHECK_OK(pipe(pair));
    start = real_now();
    CHECK_EQ(gmp_wait_fd(pair[0], GMP_READABLE, gmp_after_ns(MS(SPAN_MS))),
             -ETIMEDOUT);
    took("gmp_wait_fd", start);
    close(pair[0]);
    close(pair[1]);
}

int test_main(int argc, char **argv)
{
    int64_t before, now;
    gmp_g *g;

    CHECK(argc > 1);
#ifndef ALIEN
    mode = argv[1];
#endif
    before = real_now();
    now = gmp_now();
    CHECK(before <= now && now <= real_now());
    CHECK_OK(gmp_go_with(NULL, wait_in_all_ways, NULL, &g));
    CHECK_OK(gmp_join(g));
    wait_in_all_ways(NULL);
    return 0;
}
