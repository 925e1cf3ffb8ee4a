/* The start: first calls from many host threads at once, the version, the
 * number of CPUs, and a number of processors that changes while goroutines
 * run. */
#include "test.h"

#include <ctype.h>
#include <sched.h>

enum { CALLERS = 16, WORKERS = 20 };

static pthread_barrier_t gate;
static atomic_int started;
static atomic_bool stop;
static atomic_long progress;

static void count_start(void *arg)
{
    atomic_fetch_add(&started, 1);
}

static void *first_call(void *arg)
{
    gmp_chan *ch;

    pthread_barrier_wait(&gate);
    switch ((intptr_t)arg % 4) {
    case 0:
        CHECK_OK(gmp_wait_init());
        break;
    case 1:
        CHECK_OK(gmp_go(count_start, NULL));
        break;
    case 2:
        ch = gmp_chan_make(4, 1);
        CHECK(ch != NULL);
        gmp_chan_unref(ch);
        break;
    default:
        CHECK(gmp_set_maxprocs(0) >= 1);
    }
    CHECK_OK(gmp_wait_init());
    return NULL;
}

static void first_calls_from_many_threads(void)
{
    pthread_t threads[CALLERS];

    pthread_barrier_init(&gate, NULL, CALLERS);
    for (intptr_t i = 0; i < CALLERS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, first_call, (void *)i));
    for (int i = 0; i < CALLERS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    AWAIT(atomic_load(&started) == CALLERS / 4);
    CHECK_OK(gmp_wait_init());
}

static void version_is_three_numbers(void)
{
    const char *p = gmp_rt_version();
    int dots = 0;

    CHECK(p != NULL && isdigit((unsigned char)*p));
    for (; *p; p++) {
        CHECK(isdigit((unsigned char)*p) || *p == '.');
        dots += *p == '.';
    }
    CHECK_EQ(dots, 2);
    CHECK(isdigit((unsigned char)p[-1]));
}

static void cpus_are_those_of_this_process(void)
{
    cpu_set_t mine;

    CHECK_OK(sched_getaffinity(0, sizeof mine, &mine));
    CHECK(gmp_num_cpu() >= 1);
    CHECK(gmp_num_cpu() <= CPU_COUNT(&mine));
}

static void asking_changes_nothing(void)
{
    int procs = gmp_set_maxprocs(0);

    CHECK_EQ(procs, test_env("GMP_MAXPROCS", gmp_num_cpu()));
    CHECK_EQ(gmp_set_maxprocs(-5), procs);
    CHECK_EQ(gmp_set_maxprocs(INT32_MIN), procs);
    CHECK_EQ(gmp_set_maxprocs(0), procs);
}

static void work(void *arg)
{
    while (!atomic_load(&stop)) {
        atomic_fetch_add(&progress, 1);
        gmp_yield();
    }
}

static void await_progress(void)
{
    long before = atomic_load(&progress);

    AWAIT(atomic_load(&progress) > before + WORKERS);
}

static void change_from_goroutine(void *arg)
{
    for (int n = 1; n <= 8; n++) {
        CHECK_EQ(gmp_set_maxprocs(n), n == 1 ? 3 : n - 1);
        await_progress();
    }
    CHECK_EQ(gmp_set_maxprocs(3), 8);
}

static void *change_and_back(void *arg)
{
    for (int i = 0; i < 20; i++)
        CHECK(gmp_set_maxprocs(1 + i % 5) >= 1);
    return NULL;
}

static void world_keeps_running(void)
{
    int before = gmp_set_maxprocs(0);
    gmp_g *workers[WORKERS], *changer;
    pthread_t threads[4];

    for (int i = 0; i < WORKERS; i++)
        workers[i] = spawn(work, NULL);
    CHECK_EQ(gmp_set_maxprocs(3), before);
    await_progress();
    changer = spawn(change_from_goroutine, NULL);
    CHECK_OK(gmp_join(changer));
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, change_and_back, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    await_progress();
    CHECK(gmp_set_maxprocs(before) <= 5);
    CHECK_EQ(gmp_set_maxprocs(0), before);
    atomic_store(&stop, true);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(workers[i]));
}

int test_main(int argc, char **argv)
{
    first_calls_from_many_threads();
    version_is_three_numbers();
    cpus_are_those_of_this_process();
    asking_changes_nothing();
    world_keeps_running();
    return 0;
}
