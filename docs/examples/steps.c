/* Goroutines that wait without a stack: each has a function that is called
 * again when what it waits for has come. */
#include <gmp.h>
#include <stdio.h>

/* Sends the numbers from 1 to `last`, with a pause before each. */
struct counter {
    gmp_wait wait; /* the first member */
    gmp_wait_timer timer;
    gmp_chan *numbers;
    int64_t number, last;
    int pausing;
};

/* How long it pauses. */
static int64_t pause_end(void)
{
    return gmp_after_ns(100000);
}

/* Each call does what comes next, and says what to wait for then. */
static int count(gmp_wait *wait)
{
    struct counter *c = (struct counter *)wait;
    int rc = gmp_step_result();

    while (rc == 0) {
        c->pausing = !c->pausing;
        if (c->pausing && c->number == c->last)
            break;
        if (c->pausing) {
            rc = gmp_step_sleep(pause_end(), &c->timer);
        } else {
            c->number++;
            rc = gmp_step_send(c->numbers, &c->number, GMP_FOREVER, NULL);
        }
    }
    if (rc == GMP_STEP_WAIT)
        return rc;
    gmp_chan_close(c->numbers); /* also if it was cancelled */
    return 0;
}

/* Adds up what it receives, lets others run, and joins the sender. */
struct adder {
    gmp_wait wait;
    gmp_chan *numbers;
    gmp_g *sender;
    int64_t number, sum;
    int done;
};

/* The next thing to do after the numbers: 0 at the end. */
static int finish(struct adder *a)
{
    switch (a->done++) {
    case 0:
        return gmp_step_yield();
    case 1:
        return gmp_step_join(a->sender, GMP_FOREVER, NULL);
    default:
        return 0;
    }
}

static int add(gmp_wait *wait)
{
    struct adder *a = (struct adder *)wait;
    int rc = gmp_step_result(); /* 0 in the first step */

    if (a->done > 0)
        return finish(a);
    while (rc == 0) {
        a->sum += a->number;
        rc = gmp_step_recv(a->numbers, &a->number, GMP_FOREVER, NULL);
    }
    return rc == GMP_STEP_WAIT ? rc : finish(a);
}

/* Whether the caller may name a wait. */
static int in_a_step(void)
{
    return gmp_step_wait() != NULL;
}

int main(void)
{
    gmp_chan *numbers = gmp_chan_make(sizeof(int64_t), 0);
    struct counter c = { .numbers = numbers, .last = 10 };
    struct adder a = { .numbers = numbers };
    gmp_g *g;

    if (numbers == NULL || in_a_step() ||
        gmp_go_step(NULL, count, &c.wait, NULL, &a.sender) != 0 ||
        gmp_go_step(NULL, add, &a.wait, NULL, &g) != 0)
        return 1;
    gmp_join(g);
    printf("%lld\n", (long long)a.sum);
    gmp_chan_unref(numbers);
    return a.sum == 55 ? 0 : 1;
}
