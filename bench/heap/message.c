/* A message that is made by one thread, and dropped by another. */
#include "heap.h"

enum { BLOCK = 256, BLOCKS = 16 };

struct message {
    struct message *about;
    long number;
};

/* Blocks of pointers go round; a semaphore counts those that are full, another
 * one those that are empty. */
static struct message *ring[BLOCKS][BLOCK];

#ifdef HEAP_GMPRT
static gmp_sema full = GMP_SEMA_INIT(0), empty = GMP_SEMA_INIT(BLOCKS);

static void down(gmp_sema *s)
{
    check(gmp_sema_acquire(s) == 0, "semaphore");
}
static void up(gmp_sema *s)
{
    gmp_sema_release(s);
}
#else
static sem_t full, empty;

static void down(sem_t *s)
{
    while (sem_wait(s) != 0)
        ;
}
static void up(sem_t *s)
{
    sem_post(s);
}
#endif

/* A C program writes into a message what belongs there, so malloc will do. */
static struct message *made(long number)
{
    struct message *m =
        COLLECTS ? heap_alloc((size_t)opt.g) : must(malloc((size_t)opt.g));
    m->about = NULL;
    m->number = number;
    return m;
}

static void send_ring(void)
{
    for (long i = 0; i < opt.n; i += BLOCK) {
        struct message **block = ring[i / BLOCK % BLOCKS];
        down(&empty);
        for (long j = 0; j < BLOCK; j++)
            block[j] = made(i + j);
        up(&full);
    }
}

static void receive_ring(void)
{
    long sum = 0, n = 0;
    for (; n < opt.n; n += BLOCK) {
        struct message **block = ring[n / BLOCK % BLOCKS];
        down(&full);
        for (long j = 0; j < BLOCK; j++) {
            sum += block[j]->number;
            drop(block[j]);
            block[j] = NULL;
        }
        up(&empty);
    }
    check(sum == triangle(n - 1), "sum");
}

static void ring_end(long i)
{
    if (i == 0)
        send_ring();
    else
        receive_ring();
}

void message_ring(void)
{
    if (opt.workers != 2)
        exit(MISSING);
#ifndef HEAP_GMPRT
    sem_init(&full, 0, 0);
    sem_init(&empty, 0, BLOCKS);
#endif
    int64_t start = cpu_ns();
    in_parallel(2, ring_end);
    report("cpu_ns", (double)(cpu_ns() - start) / (double)opt.n);
}

/* Over a channel of gmprt: where malloc has the messages, too. bdwgc does not
 * look into channels. */
#ifdef HEAP_BDWGC

void message_chan(void)
{
    exit(MISSING);
}

#else

static gmp_chan *ch;

static void chan_end(long i)
{
    struct message *m;
    if (i == 0) {
        for (long n = 0; n < opt.n; n++) {
            m = made(n);
            check(gmp_chan_send(ch, &m) == 0, "send");
        }
        gmp_chan_close(ch);
        return;
    }
    long sum = 0;
    while (gmp_chan_recv(ch, &m) == 0) {
        sum += m->number;
        drop(m);
    }
    check(sum == triangle(opt.n - 1), "sum");
}

void message_chan(void)
{
    if (opt.workers != 2)
        exit(MISSING);
    gmp_set_maxprocs(2);
    ch = gmp_chan_make(sizeof(struct message *), 128);
    int64_t start = cpu_ns();
    on_goroutines(2, chan_end);
    report("cpu_ns", (double)(cpu_ns() - start) / (double)opt.n);
    gmp_chan_unref(ch);
}

#endif
