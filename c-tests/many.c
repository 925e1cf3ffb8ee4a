/* A great many goroutines at once, parked on one channel: what each costs, and
 * how many mappings they make. GMPRT_GOROUTINES sets their number. */
#include "test.h"

/* Bytes for each goroutine, page tables included; mappings of the process. */
enum { MOST_BYTES = 4915, MOST_MAPPINGS = 100 };

static gmp_chan *gate;
static atomic_long parked, done;

static void wait_at_gate(void *arg)
{
    atomic_fetch_add(&parked, 1);
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
    atomic_fetch_add(&done, 1);
}

/* What the process uses now, in bytes. */
static double memory(void)
{
    const char *status = "/proc/self/status";

    return 1024.0 * (double)(status_value(status, "VmRSS:") +
                             status_value(status, "VmPTE:"));
}

int test_main(int argc, char **argv)
{
    long n = test_env("GMPRT_GOROUTINES", 100000);
    double before, each;
    long mappings;

    gate = gmp_chan_make(0, 0);
    CHECK_OK(gmp_wait_init());
    before = memory();
    for (long i = 0; i < n; i++)
        CHECK_OK(gmp_go(wait_at_gate, NULL));
    AWAIT(atomic_load(&parked) == n);
    CHECK_OK(gmp_sleep(MS(20))); /* the last ones reach the gate */
    CHECK(gmp_num_goroutines() >= n);
    each = (memory() - before) / (double)n;
    mappings = count_lines("/proc/self/maps");
    printf("%ld goroutines: %.0f bytes each, %ld mappings, %d threads\n", n,
           each, mappings, count_threads());
    CHECK(each <= MOST_BYTES);
    CHECK(mappings < MOST_MAPPINGS);
    CHECK_OK(gmp_chan_close(gate));
    AWAIT(atomic_load(&done) == n);
    AWAIT(gmp_num_goroutines() < n / 10);
    gmp_chan_unref(gate);
    return 0;
}
