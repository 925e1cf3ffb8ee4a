/* Names that are read, values of semaphores, and points of the other clock. */
#include "test.h"

enum { READERS = 3, NAMINGS = 2000 };

static atomic_bool over;

static void named(void *arg)
{
    char buf[32];

    CHECK_OK(gmp_get_name(gmp_self(), buf, sizeof buf));
    CHECK(strcmp(buf, "the first") == 0);
    CHECK_EQ(gmp_get_name(gmp_self(), buf, 9), -ERANGE);
    CHECK(strcmp(buf, "the first") == 0);
    CHECK_OK(gmp_get_name(gmp_self(), buf, 10));
    CHECK_EQ(gmp_get_name(gmp_self(), buf, 0), -EINVAL);
    CHECK_EQ(gmp_get_name(gmp_self(), NULL, 9), -EINVAL);
    CHECK_EQ(gmp_get_name(NULL, buf, sizeof buf), -EINVAL);
    CHECK_OK(gmp_set_name("other"));
    CHECK_OK(gmp_get_name(gmp_self(), buf, sizeof buf));
    CHECK(strcmp(buf, "other") == 0);
    *(gmp_g **)arg = gmp_self();
}

static void nameless(void *arg)
{
    char buf[4] = "abc";

    CHECK_OK(gmp_get_name(gmp_self(), buf, 1));
    CHECK(buf[0] == '\0' && buf[1] == 'b');
}

/* One that renames itself all the time, with names of different lengths. */
static void renames(void *arg)
{
    for (int i = 0; i < NAMINGS; i++) {
        char name[80];

        memset(name, 'a' + i % 26, sizeof name);
        name[i % 70 + 1] = '\0';
        CHECK_OK(gmp_set_name(name));
    }
    atomic_store(&over, true);
}

static void read_names(void *g)
{
    char buf[80];

    while (!atomic_load(&over)) {
        int result = gmp_get_name(g, buf, sizeof buf);

        CHECK(result == 0 || result == -EINVAL); /* it may have ended */
        for (const char *c = buf; result == 0 && *c; c++)
            CHECK(*c == buf[0]);
        gmp_yield();
    }
}

static void *read_on_thread(void *g)
{
    read_names(g);
    return NULL;
}

static void names(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g, *seen, *readers[READERS];
    pthread_t thread;
    char buf[16];

    attr.name = "the first";
    CHECK_OK(gmp_go_with(&attr, named, &seen, &g));
    CHECK_OK(gmp_join(g));
    CHECK(seen == g);
    CHECK_EQ(gmp_get_name(g, buf, sizeof buf), -EINVAL);
    CHECK_OK(gmp_join(spawn(nameless, NULL)));
    g = spawn(renames, NULL);
    for (int i = 0; i < READERS; i++)
        readers[i] = spawn(read_names, g);
    CHECK_OK(pthread_create(&thread, NULL, read_on_thread, g));
    for (int i = 0; i < READERS; i++)
        CHECK_OK(gmp_join(readers[i]));
    CHECK_OK(pthread_join(thread, NULL));
    /* It has ended, and nobody has joined it. */
    AWAIT(gmp_get_name(g, buf, sizeof buf) == 0 && buf[0] == '\0');
    CHECK_OK(gmp_join(g));
}

static void acquire(void *s)
{
    CHECK_OK(gmp_sema_acquire(s));
}

static void values(void *arg)
{
    gmp_sema s = GMP_SEMA_INIT(2), full = GMP_SEMA_INIT(INT32_MAX);
    gmp_g *g;

    CHECK_EQ(gmp_sema_value(NULL), -EINVAL);
    CHECK_EQ(gmp_sema_value(&full), INT32_MAX);
    CHECK_EQ(gmp_sema_value(&s), 2);
    CHECK_OK(gmp_sema_acquire(&s));
    CHECK_EQ(gmp_sema_value(&s), 1);
    CHECK_OK(gmp_sema_acquire(&s));
    CHECK_EQ(gmp_sema_value(&s), 0);
    g = spawn(acquire, &s);
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_EQ(gmp_sema_value(&s), 0);
    CHECK_OK(gmp_sema_release(&s));
    CHECK_OK(gmp_join(g));
    CHECK_OK(gmp_sema_release(&s));
    CHECK_EQ(gmp_sema_value(&s), 1);
}

static int64_t real_after(int64_t ns)
{
    struct timespec t;

    CHECK_OK(clock_gettime(CLOCK_REALTIME, &t));
    ns += SEC(t.tv_sec) + t.tv_nsec;
    t.tv_sec = (time_t)(ns / SEC(1));
    t.tv_nsec = (long)(ns % SEC(1));
    return gmp_realtime_deadline(&t);
}

static void points(void *arg)
{
    static const struct timespec wrong[] = {{0, -1}, {0, 1000000000}};
    static const struct timespec zero = {0, 0}, first = {INT64_MIN, 0};
    static const struct timespec last = {INT64_MAX, 999999999};
    struct timespec t;
    int64_t before = gmp_now(), deadline = real_after(SEC(100));
    int64_t after = gmp_now();

    CHECK(deadline >= before + SEC(100));
    CHECK(deadline <= after + SEC(100) + MS(1) || after - before > MS(1));
    CHECK(real_after(-MS(1)) < gmp_now());
    for (int i = 0; i < 2; i++)
        CHECK_EQ(gmp_realtime_deadline(&wrong[i]), -EINVAL);
    CHECK_EQ(gmp_realtime_deadline(NULL), -EINVAL);
    CHECK_EQ(gmp_realtime_deadline(&zero), 0);
    CHECK_EQ(gmp_realtime_deadline(&first), 0);
    CHECK_EQ(gmp_realtime_deadline(&last), GMP_FOREVER);
    CHECK_EQ(gmp_sleep_until(gmp_realtime_deadline(NULL)), 0);
    /* Nobody who sleeps until then wakes before it. */
    CHECK_OK(clock_gettime(CLOCK_REALTIME, &t));
    t.tv_sec += t.tv_nsec >= 998000000;
    t.tv_nsec = (t.tv_nsec + 2000000) % 1000000000;
    CHECK_OK(gmp_sleep_until(gmp_realtime_deadline(&t)));
    deadline = SEC(t.tv_sec) + t.tv_nsec;
    CHECK_OK(clock_gettime(CLOCK_REALTIME, &t));
    CHECK(SEC(t.tv_sec) + t.tv_nsec >= deadline);
}

int test_main(int argc, char **argv)
{
    names();
    values(NULL);
    CHECK_OK(gmp_join(spawn(values, NULL)));
    points(NULL);
    CHECK_OK(gmp_join(spawn(points, NULL)));
    return 0;
}
