/* A semaphore built from the two calls that every wait is built from:
 * gmp_park, which stops this goroutine, and gmp_ready, which wakes another. */
#include <gmp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

enum { GOROUTINES = 100, PERMITS = 3 };

struct waiter {
    gmp_g *g;
    bool granted;
    struct waiter *next;
};

struct semaphore {
    pthread_mutex_t lock; /* guards the rest, and is never held in a wait */
    int permits;
    struct waiter *first, **last;
};

/* Called once the goroutine is parked: from here on it may be readied. */
static int unlock(gmp_g *g, void *lock)
{
    (void)g;
    pthread_mutex_unlock(lock);
    return 1; /* stay parked */
}

static void acquire(struct semaphore *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->permits > 0) {
        s->permits--;
    } else {
        struct waiter self = {gmp_self(), false, NULL};
        *s->last = &self;
        s->last = &self.next;
        while (!self.granted) { /* a park may end for no reason */
            gmp_park(unlock, &s->lock, "semaphore");
            pthread_mutex_lock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

/* Hands the permit to the longest waiter, if there is one. */
static void release(struct semaphore *s)
{
    pthread_mutex_lock(&s->lock);
    struct waiter *w = s->first;
    if (w == NULL) {
        s->permits++;
    } else {
        s->first = w->next;
        if (s->first == NULL)
            s->last = &s->first;
        w->granted = true;
        gmp_ready(w->g); /* under the lock: w lies on that one's stack */
    }
    pthread_mutex_unlock(&s->lock);
}

static struct semaphore room = {PTHREAD_MUTEX_INITIALIZER, PERMITS, NULL,
                                &room.first};
static gmp_waitgroup visitors = GMP_WAITGROUP_INIT;
static gmp_mutex count = GMP_MUTEX_INIT; /* guards the two below */
static int inside, most;

static void visit(void *arg)
{
    (void)arg;
    acquire(&room);
    gmp_mutex_lock(&count);
    if (++inside > most)
        most = inside;
    gmp_mutex_unlock(&count);

    gmp_sleep(1000 * 1000); /* a millisecond */

    gmp_mutex_lock(&count);
    inside--;
    gmp_mutex_unlock(&count);
    release(&room);
    gmp_waitgroup_done(&visitors);
}

int main(void)
{
    gmp_waitgroup_add(&visitors, GOROUTINES);
    for (int i = 0; i < GOROUTINES; i++)
        if (gmp_go(visit, NULL) != 0)
            return 1;
    gmp_waitgroup_wait(&visitors);
    printf("%d visitors, %d at once\n", GOROUTINES, most);
}
