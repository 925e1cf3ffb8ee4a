/* Too little address space for the stacks of all goroutines: those without
 * wait until others end or until there is memory again, and lose nothing; the
 * others go on. What has a mapping of its own is refused at once. */
#include "test.h"

enum { MIB = 1 << 20, MANY = 3000 };

static gmp_chan *gate;
static atomic_int begun, ended;

static void begin_and_wait(void *arg)
{
    atomic_fetch_add(&begun, 1);
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
    atomic_fetch_add(&ended, 1);
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* So many bytes more than now, and no others. */
static void limit_memory(rlim_t more)
{
    rlim_t now = (rlim_t)status_value("/proc/self/status", "VmSize:") * 1024;
    struct rlimit limit = {now + more, RLIM_INFINITY};

    CHECK_OK(setrlimit(RLIMIT_AS, &limit));
}

static void unlimit_memory(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    CHECK_OK(setrlimit(RLIMIT_AS, &limit));
}

/* Starts `n` goroutines, of which only a part can have stacks. */
static void start_too_many(int n, size_t stack_size)
{
    gmp_attr attr = GMP_ATTR_INIT;
    int before;

    attr.stack_size = stack_size;
    gate = gmp_chan_make(0, 0);
    CHECK(gate != NULL);
    begun = 0;
    ended = 0;
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_go_with(&attr, begin_and_wait, NULL, NULL));
    AWAIT(begun > 0);
    do {
        before = begun;
        gmp_sleep(MS(50));
    } while (begun != before);
    printf("%d of %d begun\n", before, n);
    CHECK(before < n);
}

static void open_gate(int n)
{
    CHECK_OK(gmp_chan_close(gate));
    AWAIT(ended == n);
    CHECK_EQ(begun, n);
    gmp_chan_unref(gate);
}

static void those_that_end_leave_their_stacks(void)
{
    limit_memory(30 * MIB);
    start_too_many(MANY, 0);
    open_gate(MANY);
}

/* Others end all the time, and the ones that wait have their turn. */
static void restart(void *arg)
{
    if (atomic_fetch_sub((atomic_int *)arg, 1) > 0)
        CHECK_OK(gmp_go(restart, arg));
}

static void busy_ones_let_others_in(void)
{
    atomic_int left = 20000;

    limit_memory(0);
    start_too_many(MANY, 0);
    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_go(restart, &left));
    open_gate(MANY);
    AWAIT(left == -10);             /* all ten of them have come to their end */
}

static void memory_that_comes_back_is_found(void)
{
    int64_t start;

    limit_memory(0);
    start_too_many(MANY, 0);
    unlimit_memory();
    start = gmp_now();
    AWAIT(begun == MANY);
    printf("all begun after %lld us\n", (long long)(gmp_now() - start) / 1000);
    CHECK(gmp_now() - start < SEC(2));
    open_gate(MANY);
}

/* The larger ones wait; that keeps nobody who wants less. */
static void sizes_do_not_wait_for_one_another(void)
{
    atomic_int small = 0;

    limit_memory(30 * MIB);
    start_too_many(20, 4 * MIB);
    for (int i = 0; i < 100; i++)
        CHECK_OK(gmp_go(count, &small));
    AWAIT(small == 100);
    CHECK(begun < 20);
    open_gate(20);
}

static void own_mappings_are_refused_at_once(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    atomic_int ran = 0;
    int64_t many = gmp_num_goroutines();
    gmp_g *g = NULL;

    limit_memory(30 * MIB);
    attr.stack_size = 512 * MIB;
    attr.name = "large";
    for (int i = 0; i < 100; i++)
        CHECK_EQ(gmp_go_with(&attr, count, &ran, &g), -ENOMEM);
    CHECK_EQ(gmp_num_goroutines(), many);
    unlimit_memory();
    CHECK_OK(gmp_go_with(&attr, count, &ran, &g));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(ran, 1);
}

int test_main(int argc, char **argv)
{
    CHECK_OK(gmp_wait_init());
    those_that_end_leave_their_stacks();
    busy_ones_let_others_in();
    sizes_do_not_wait_for_one_another();
    memory_that_comes_back_is_found();
    own_mappings_are_refused_at_once();
    AWAIT(gmp_num_goroutines() == 0);
    return 0;
}
