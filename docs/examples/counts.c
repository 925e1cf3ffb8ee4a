/* Semaphores, barriers, wait groups and onces. */
#include <gmp.h>
#include <stdio.h>

/* At most three goroutines are in the shop. */
static gmp_sema room = GMP_SEMA_INIT(3);

static void shop(void *arg)
{
    gmp_waitgroup *all = arg;

    if (gmp_sema_acquire(&room) == 0) {
        gmp_sleep(100000);
        gmp_sema_release(&room);
    }
    gmp_waitgroup_done(all);
}

/* Goes in only if there is room at once, or within 2 ms. */
static int shop_soon(void)
{
    int rc = gmp_sema_try_acquire(&room);

    if (rc == -EAGAIN)
        rc = gmp_sema_acquire_until(&room, gmp_after_ns(2000000));
    return rc == 0 ? gmp_sema_release(&room) : rc;
}

/* Starts many goroutines, and waits for all of them, at most ten seconds. */
static int all_shop(int n)
{
    gmp_waitgroup all = GMP_WAITGROUP_INIT;

    gmp_waitgroup_add(&all, n);
    for (int i = 0; i < n; i++)
        if (gmp_go(shop, &all) != 0)
            gmp_waitgroup_done(&all);
    if (gmp_waitgroup_wait_until(&all, gmp_after_ns(10000000000)) != 0)
        gmp_waitgroup_wait(&all); /* `all` must outlive them */
    return gmp_sema_value(&room) == 3 ? 0 : -1;
}

static gmp_barrier step = GMP_BARRIER_INIT(2);
static int rounds;

/* Two goroutines in step; one of them counts the rounds. */
static void march(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++)
        if (gmp_barrier_wait(&step) == 1)
            rounds++;
}

/* Nobody else comes: after a millisecond it leaves the round. */
static int alone(void)
{
    return gmp_barrier_wait_until(&step, gmp_after_ns(1000000));
}

static gmp_once tables = GMP_ONCE_INIT;
static int made;

static void make_tables(void *arg)
{
    (void)arg;
    made++;
}

/* The first caller makes the tables, the others wait for that. */
static void use_tables(void)
{
    gmp_once_do(&tables, make_tables, NULL);
}

/* The same for a caller that has not all the time in the world. */
static int use_tables_soon(void)
{
    return gmp_once_do_until(&tables, make_tables, NULL,
                             gmp_after_ns(1000000));
}

int main(void)
{
    gmp_g *a, *b;

    if (all_shop(20) != 0 || shop_soon() != 0 || alone() != -ETIMEDOUT)
        return 1;
    if (gmp_go_with(NULL, march, NULL, &a) != 0 ||
        gmp_go_with(NULL, march, NULL, &b) != 0)
        return 1;
    gmp_join(a);
    gmp_join(b);
    use_tables();
    if (use_tables_soon() != 0)
        return 1;
    printf("%d rounds, made %d time\n", rounds, made);
    return rounds != 5 || made != 1;
}
