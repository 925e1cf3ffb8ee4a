/* A semaphore built from gmp_park, which stops this goroutine, and gmp_ready,
 * which wakes another. It is short and not fair: the last to come is the first
 * to enter. */
#include <gmp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

enum { VISITORS = 100, PERMITS = 3 };

struct waiter { /* on the stack of the goroutine that waits */
    gmp_g *g;
    bool granted;
    struct waiter *next;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the two below */
static int permits = PERMITS;
static struct waiter *waiters;

/* Called once the goroutine is parked: after the unlock it may be readied. */
static int unlock(gmp_g *g, void *mutex)
{
    (void)g;
    pthread_mutex_unlock(mutex);
    return 1; /* stay parked */
}

static void acquire(void)
{
    pthread_mutex_lock(&lock);
    struct waiter self = {gmp_self(), permits > 0, waiters};
    if (self.granted)
        permits--;
    else
        waiters = &self;
    while (!self.granted) { /* a park may end for no reason */
        gmp_park(unlock, &lock, "semaphore");
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
}

static void release(void)
{
    pthread_mutex_lock(&lock);
    struct waiter *w = waiters;
    if (w != NULL) {
        waiters = w->next;
        w->granted = true;
        gmp_ready(w->g);
    } else {
        permits++;
    }
    pthread_mutex_unlock(&lock);
}

static void visit(void *left)
{
    static atomic_int inside;
    acquire();
    if (++inside > PERMITS)
        puts("too many visitors");
    gmp_sleep(1000 * 1000); /* a millisecond */
    inside--;
    release();
    gmp_waitgroup_done(left);
}

int main(void)
{
    gmp_waitgroup left = GMP_WAITGROUP_INIT;
    gmp_waitgroup_add(&left, VISITORS);
    for (int i = 0; i < VISITORS; i++)
        if (gmp_go(visit, &left) != 0)
            return 1;
    gmp_waitgroup_wait(&left);
    printf("%d visitors, at most %d at once\n", VISITORS, PERMITS);
}
