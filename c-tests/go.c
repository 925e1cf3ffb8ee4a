/* Starting and ending goroutines: arguments, copied arguments, attributes,
 * gmp_exit, and a great many at once. */
#include "test.h"

enum { COPIES = 1000 };

#define MANY test_times(100000)

static gmp_waitgroup all = GMP_WAITGROUP_INIT;
static atomic_long sum;

static void add_argument(void *arg)
{
    atomic_fetch_add(&sum, (long)(intptr_t)arg);
    CHECK_OK(gmp_waitgroup_done(&all));
}

static void argument_arrives(void)
{
    CHECK_OK(gmp_waitgroup_add(&all, 100));
    for (intptr_t i = 1; i <= 100; i++)
        CHECK_OK(gmp_go(add_argument, (void *)i));
    CHECK_OK(gmp_waitgroup_wait(&all));
    CHECK_EQ(atomic_load(&sum), 5050);
}

static unsigned char pattern(size_t size, size_t i)
{
    return (unsigned char)(size * 31 + i * 7 + (i >> 8));
}

static size_t copied_size;

static void check_copy(void *args)
{
    const unsigned char *bytes = args;

    if (copied_size > 0)
        CHECK_EQ((uintptr_t)args % 16, 0);
    gmp_yield();
    for (size_t i = 0; i < copied_size; i++)
        CHECK_EQ(bytes[i], pattern(copied_size, i));
    CHECK_OK(gmp_waitgroup_done(&all));
}

static void copies_are_taken_at_the_call(void)
{
    static const size_t sizes[] = {0,  1,  7,   15,   16,   17,
                                   33, 64, 100, 1000, 4096, 65536};
    static unsigned char args[65536];

    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        copied_size = sizes[s];
        for (size_t i = 0; i < copied_size; i++)
            args[i] = pattern(copied_size, i);
        CHECK_OK(gmp_waitgroup_add(&all, 1));
        CHECK_OK(gmp_go_copy(check_copy, args, copied_size));
        memset(args, 0xEE, sizeof args);
        CHECK_OK(gmp_waitgroup_wait(&all));
    }
    copied_size = 0;
    CHECK_OK(gmp_waitgroup_add(&all, 1));
    CHECK_OK(gmp_go_copy(check_copy, NULL, 0));
    CHECK_OK(gmp_waitgroup_wait(&all));
    CHECK_EQ(gmp_go_copy(check_copy, args, 65537), -EINVAL);
    CHECK_EQ(gmp_go_copy(check_copy, args, SIZE_MAX), -EINVAL);
    CHECK_EQ(gmp_go_copy(check_copy, NULL, 8), -EINVAL);
}

struct job {
    long number;
    char padding[21];
    unsigned char check;
};

static void run_job(void *arg)
{
    struct job *job = arg;

    CHECK_EQ(job->check, (unsigned char)job->number);
    job->check = 0; /* the copy is the goroutine's own */
    atomic_fetch_add(&sum, job->number);
    CHECK_OK(gmp_waitgroup_done(&all));
}

static void many_copies_stay_apart(void)
{
    struct job job;

    memset(&job, 0, sizeof job);
    atomic_store(&sum, 0);
    CHECK_OK(gmp_waitgroup_add(&all, COPIES));
    for (int i = 0; i < COPIES; i++) {
        job.number = i;
        job.check = (unsigned char)i;
        CHECK_OK(gmp_go_copy(run_job, &job, sizeof job));
    }
    CHECK_OK(gmp_waitgroup_wait(&all));
    CHECK_EQ(atomic_load(&sum), (long)COPIES * (COPIES - 1) / 2);
}

static void set_flag(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void stay_on_thread(void *arg)
{
    long tid = thread_id();

    for (int i = 0; i < 50; i++) {
        gmp_yield();
        CHECK_EQ(thread_id(), tid);
        CHECK_OK(gmp_sleep(US(10)));
        CHECK_EQ(thread_id(), tid);
    }
    set_flag(arg);
}

static void run_with(const gmp_attr *attr, gmp_fn fn)
{
    atomic_bool ran = false;
    gmp_g *g = NULL;

    CHECK_OK(gmp_go_with(attr, fn, &ran, &g));
    CHECK(g != NULL);
    CHECK_OK(gmp_join(g));
    CHECK(atomic_load(&ran));
}

static void attributes_are_honoured(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    static atomic_bool detached;

    CHECK_EQ(attr.struct_size, sizeof attr);
    run_with(&attr, set_flag);
    run_with(NULL, set_flag);
    attr.name = "a goroutine with a name";
    run_with(&attr, set_flag);
    attr.flags = GMP_LOCKED_THREAD;
    run_with(&attr, stay_on_thread);
    attr.stack_size = 1 << 20;
    run_with(&attr, set_flag);
    CHECK_OK(gmp_go_with(&attr, set_flag, &detached, NULL));
    AWAIT(atomic_load(&detached));
}

static void bad_attributes_are_refused(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;

    attr.struct_size = 0;
    CHECK_EQ(gmp_go_with(&attr, set_flag, NULL, &g), -EINVAL);
    attr.struct_size = 3;
    CHECK_EQ(gmp_go_with(&attr, set_flag, NULL, &g), -EINVAL);
    attr.struct_size = sizeof attr;
    attr.flags = UINT32_C(1) << 31;
    CHECK_EQ(gmp_go_with(&attr, set_flag, NULL, &g), -EINVAL);
    attr.flags = 0;
    attr.stack_size = SIZE_MAX;
    CHECK_EQ(gmp_go_with(&attr, set_flag, NULL, &g), -EINVAL);
    attr.stack_size = 0;
    CHECK_EQ(gmp_go_with(&attr, NULL, NULL, &g), -EINVAL);
    CHECK(g == NULL);
}

static void leave(int depth)
{
    volatile char frame[64];

    frame[0] = (char)depth;
    if (depth > 0)
        leave(depth - 1);
    else
        gmp_exit();
    /* No frame of this goroutine runs on. */
    CHECK(frame[0] != (char)depth);
}

static void exit_in_the_middle(void *arg)
{
    gmp_yield();
    leave(20);
}

static void exit_ends_only_its_goroutine(void)
{
    int64_t before = gmp_num_goroutines();

    for (int i = 0; i < 100; i++)
        CHECK_OK(gmp_join(spawn(exit_in_the_middle, NULL)));
    AWAIT(gmp_num_goroutines() <= before);
    CHECK_EQ(gmp_exit(), -EPERM);
}

static void many_are_no_matter(void)
{
    atomic_store(&sum, 0);
    CHECK_OK(gmp_waitgroup_add(&all, MANY));
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_go(add_argument, (void *)(intptr_t)1));
    CHECK_OK(gmp_waitgroup_wait(&all));
    CHECK_EQ(atomic_load(&sum), MANY);
}

int test_main(int argc, char **argv)
{
    argument_arrives();
    copies_are_taken_at_the_call();
    many_copies_stay_apart();
    attributes_are_honoured();
    bad_attributes_are_refused();
    exit_ends_only_its_goroutine();
    many_are_no_matter();
    return 0;
}
