/* A goroutine may block in any C function or keep its thread busy: the others
 * go on. What is checked is how often they did, not for how long they waited:
 * a machine under load has gaps of its own, which are printed. */
#include "test.h"

enum { BLOCKERS = 1000, BURNERS = 200, OVERLAP = 4 };

/* A goroutine that gets in only when the disturber is done ticks once. */
enum { TICKS = 10 };

static atomic_bool stop;
static atomic_int ticks;
static int ticks_meanwhile;

/* Sleeps a millisecond at a time; stores the longest time between two. */
static void tick(void *arg)
{
    int64_t worst = 0, last = gmp_now();

    while (!atomic_load(&stop)) {
        int64_t now;

        CHECK_OK(gmp_sleep(MS(1)));
        atomic_fetch_add(&ticks, 1);
        now = gmp_now();
        if (now - last > worst)
            worst = now - last;
        last = now;
    }
    *(int64_t *)arg = worst;
}

static void block_half_a_second(void *arg)
{
    int before = atomic_load(&ticks);

    block_ns(MS(500));
    ticks_meanwhile = atomic_load(&ticks) - before;
}

static void spin_half_a_second(void *arg)
{
    int before = atomic_load(&ticks);

    spin_ns(MS(500));
    ticks_meanwhile = atomic_load(&ticks) - before;
}

static void ticker_goes_on(const char *what, gmp_fn disturb)
{
    int64_t worst = 0;
    gmp_g *ticker, *disturber;

    atomic_store(&stop, false);
    ticker = spawn(tick, &worst);
    block_ns(MS(10));
    disturber = spawn(disturb, NULL);
    CHECK_OK(gmp_join(disturber));
    atomic_store(&stop, true);
    CHECK_OK(gmp_join(ticker));
    printf("%s: %d ticks, worst gap %.2f ms\n", what, ticks_meanwhile,
           (double)worst / 1e6);
    CHECK(ticks_meanwhile >= TICKS);
}

static int pipe_fds[2];
static atomic_int reading;

static void read_one(void *arg)
{
    char byte;

    atomic_fetch_add(&reading, 1);
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 1);
}

/* Nobody gets a byte before all have asked for one. */
static void thousand_block_at_once(void)
{
    static gmp_g *gs[BLOCKERS];
    char byte = 0;

    CHECK_OK(pipe(pipe_fds));
    for (int i = 0; i < BLOCKERS; i++)
        gs[i] = spawn(read_one, NULL);
    while (atomic_load(&reading) < BLOCKERS)
        block_ns(MS(1));
    for (int i = 0; i < BLOCKERS; i++)
        CHECK_EQ(write(pipe_fds[1], &byte, 1), 1);
    for (int i = 0; i < BLOCKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_OK(close(pipe_fds[0]));
    CHECK_OK(close(pipe_fds[1]));
}

/* How many nap, and the most that did at once. */
static atomic_int napping, most_napping;

static void nap(void *arg)
{
    int now = atomic_fetch_add(&napping, 1) + 1;
    int most = atomic_load(&most_napping);

    while (now > most &&
           !atomic_compare_exchange_weak(&most_napping, &most, now))
        ;
    CHECK_OK(usleep(100000));
    atomic_fetch_sub(&napping, 1);
}

static void thousand_naps_overlap(void)
{
    static gmp_g *gs[BLOCKERS];
    int64_t start = gmp_now();

    for (int i = 0; i < BLOCKERS; i++)
        gs[i] = spawn(nap, NULL);
    for (int i = 0; i < BLOCKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    /* One after the other they take 100 s, and one naps at a time. */
    printf("%d naps of 100 ms: %.0f ms, %d at once\n", BLOCKERS,
           (double)(gmp_now() - start) / 1e6, atomic_load(&most_napping));
    CHECK(atomic_load(&most_napping) >= OVERLAP);
}

static atomic_int burning;

static void burn(void *arg)
{
    spin_ns(MS(3));
    atomic_fetch_sub(&burning, 1);
}

/* Run in a process of its own, whose threads nobody else made. */
static void busy_ones_share_few_threads(void)
{
    int most = 0, procs = gmp_set_maxprocs(0);

    atomic_store(&burning, BURNERS);
    for (int i = 0; i < BURNERS; i++)
        CHECK_OK(gmp_go(burn, NULL));
    while (atomic_load(&burning) > 0) {
        int threads = count_threads();

        most = threads > most ? threads : most;
        block_ns(MS(5));
    }
    printf("%d busy goroutines, %d processors: %d threads at most\n", BURNERS,
           procs, most);
    CHECK(most <= 3 * procs + 10);
}

int test_main(int argc, char **argv)
{
    int procs = gmp_set_maxprocs(0);

    busy_ones_share_few_threads();
    gmp_set_maxprocs(1);
    ticker_goes_on("blocked 500 ms", block_half_a_second);
    ticker_goes_on("busy 500 ms", spin_half_a_second);
    thousand_naps_overlap();
    gmp_set_maxprocs(procs);
    thousand_block_at_once();
    return 0;
}
