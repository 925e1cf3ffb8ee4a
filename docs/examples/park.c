/* An event that one goroutine waits for and another one sets: the waiter is
 * parked, and its handle lies where the waker finds it. */
#include <gmp.h>
#include <stdio.h>

struct event {
    gmp_mutex lock;
    int set;
    gmp_g *waiter;
};

/* Called once the waiter is parked: from here on a waker may come. */
static int unlock(gmp_g *g, void *lock)
{
    (void)g;
    gmp_mutex_unlock(lock);
    return 1;
}

/* Waits for the event, at most until the deadline. */
static int event_wait(struct event *e, int64_t deadline)
{
    int rc = 0;

    gmp_mutex_lock(&e->lock);
    while (!e->set && rc == 0) {
        e->waiter = gmp_self();
        rc = gmp_park_until(unlock, &e->lock, "event", deadline);
        gmp_mutex_lock(&e->lock);
        e->waiter = NULL;
    }
    gmp_mutex_unlock(&e->lock);
    return rc;
}

/* Sets the event, and wakes the goroutine that waits. */
static void event_set(void *arg)
{
    struct event *e = arg;

    gmp_mutex_lock(&e->lock);
    e->set = 1;
    if (e->waiter != NULL)
        gmp_ready(e->waiter);
    gmp_mutex_unlock(&e->lock);
}

/* A permit that was given before makes the next park return at once. */
static void permit(void *arg)
{
    gmp_ready(gmp_self());
    *(int *)arg = gmp_park(NULL, NULL, "permit");
}

static void wait_for_event(void *arg)
{
    if (event_wait(arg, gmp_after_ns(10000000000)) == 0)
        puts("the event came");
}

int main(void)
{
    struct event e = {GMP_MUTEX_INIT, 0, NULL};
    int rc = -1;
    gmp_g *waiter, *other;

    if (gmp_go_with(NULL, wait_for_event, &e, &waiter) != 0 ||
        gmp_go_with(NULL, permit, &rc, &other) != 0)
        return 1;
    event_set(&e);
    gmp_join(waiter);
    gmp_join(other);
    return rc;
}
