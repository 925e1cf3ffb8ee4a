/* A goroutine of steps forks, and goes on in the child. */
#include "test.h"
#include <sys/wait.h>

struct one {
    gmp_wait wait;
    atomic_int step;
    int rc;
    gmp_chan *ch;
    int64_t deadline, elem;
    gmp_wait_timer timer;
};

static int waits(gmp_wait *wait)
{
    struct one *one = (struct one *)wait;

    if (one->step++ > 0)
        return 0;
    return gmp_step_recv(one->ch, &one->elem, GMP_FOREVER, NULL);
}

/* A step forks: in the child it goes on, and waits. */
static int forks(gmp_wait *wait)
{
    struct one *one = (struct one *)wait;
    int status;

    switch (one->step++) {
    case 0:
        return gmp_step_yield();
    case 1:
        one->elem = fork();
        CHECK(one->elem >= 0);
        return gmp_step_sleep(gmp_after_ns(MS(1)), &one->timer);
    case 2:
        CHECK_OK(gmp_step_result());
        one->rc = gmp_step_recv(one->ch, &one->deadline,
                                gmp_after_ns(MS(1)), &one->timer);
        return one->rc == GMP_STEP_WAIT ? one->rc : 0;
    }
    CHECK_EQ(gmp_step_result(), -ETIMEDOUT);
    if (one->elem == 0)
        _exit(23);
    CHECK_EQ(waitpid((pid_t)one->elem, &status, 0), one->elem);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 23);
    return 0;
}

static void in_the_child_of_a_fork(void)
{
    gmp_chan *ch = gmp_chan_make(8, 0);
    static struct one waiting, one;
    gmp_g *g, *waiter;

    waiting.ch = ch;
    CHECK_OK(gmp_go_step(NULL, waits, &waiting.wait, NULL, &waiter));
    AWAIT(waiting.step == 1);
    gmp_sleep(US(100));
    one.ch = gmp_chan_make(8, 0);
    CHECK_OK(gmp_go_step(NULL, forks, &one.wait, NULL, &g));
    CHECK_OK(gmp_join(g));
    CHECK_OK(gmp_cancel(waiter));
    CHECK_OK(gmp_join(waiter));
    gmp_chan_unref(one.ch);
    gmp_chan_unref(ch);
}

int test_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    in_the_child_of_a_fork();
    return 0;
}
