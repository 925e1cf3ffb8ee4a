/* A program that blocks signals first thing and takes them by sigwait: they
 * are for nobody else, whatever the library's threads are doing, which have
 * been there before. And what is not blocked comes to its handler. */
#include "test.h"

enum { ROUNDS = 40, BUSY = 6 };

static const int waited[] = {SIGTERM, SIGINT, SIGUSR1};
static sigset_t set;
static atomic_int stop, handled, taken;

static void take(int signo)
{
    int got = 0;

    CHECK_OK(kill(getpid(), signo));
    CHECK_OK(sigwait(&set, &got));
    CHECK_EQ(got, signo);
}

static void take_all(void)
{
    for (int i = 0; i < ROUNDS; i++)
        take(waited[i % 3]);
}

static void busy(void *arg)
{
    while (!atomic_load(&stop)) {
        switch ((intptr_t)arg % 3) {
        case 0:
            gmp_yield();
            break;
        case 1:
            block_ns(US(100));
            break;
        default:
            CHECK_OK(gmp_sleep(US(50)));
        }
    }
}

static void killer(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(kill(getpid(), SIGTERM));
        AWAIT(atomic_load(&taken) > i);
    }
}

/* sigwait on a goroutine: what it blocks is blocked for all. */
static void waiter(void *arg)
{
    (void)arg;
    take_all();
}

static void *host(void *arg)
{
    int got;

    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(sigwait(&set, &got));
        CHECK_EQ(got, SIGTERM);
        atomic_fetch_add(&taken, 1);
    }
    return NULL;
}

static void note(int signo)
{
    (void)signo;
    atomic_fetch_add(&handled, 1);
}

static void handlers(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    CHECK_OK(sigaction(SIGUSR2, &action, NULL));
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(kill(getpid(), SIGUSR2));
        AWAIT(atomic_load(&handled) > i);
    }
}

/* One that everybody blocks still comes to a channel. */
static void channel(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 1);
    int got = 0;

    CHECK(ch != NULL);
    CHECK_OK(gmp_signal_notify(ch, SIGINT));
    CHECK_OK(kill(getpid(), SIGINT));
    CHECK_OK(gmp_chan_recv(ch, &got));
    CHECK_EQ(got, SIGINT);
    CHECK_OK(gmp_signal_stop(ch, SIGINT));
    gmp_chan_unref(ch);
}

int test_main(int argc, char **argv)
{
    gmp_g *g[BUSY], *kills;
    pthread_t thread;

    (void)argc;
    (void)argv;
    sigemptyset(&set);
    for (int i = 0; i < 3; i++)
        sigaddset(&set, waited[i]);
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
    take_all();                 /* before the first call, early in the start */
    block_ns(MS(20));
    take_all();                 /* and after it */
    CHECK_OK(gmp_wait_init());
    take_all();
    for (int i = 0; i < BUSY; i++)
        g[i] = spawn(busy, (void *)(intptr_t)i);
    take_all();
    handlers();
    block_ns(MS(20));
    take_all();
    CHECK_OK(pthread_create(&thread, NULL, host, NULL));
    kills = spawn(killer, NULL);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(gmp_join(kills));
    CHECK_OK(gmp_join(spawn(waiter, NULL)));
    atomic_store(&stop, 1);
    for (int i = 0; i < BUSY; i++)
        CHECK_OK(gmp_join(g[i]));
    block_ns(MS(20));
    take_all();                 /* idle */
    channel();
    return 0;
}
