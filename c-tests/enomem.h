/* The parts of enomem.c: an allocator that refuses memory on demand, and the
 * arguments of each public function. */
#ifndef ENOMEM_H
#define ENOMEM_H
#include "io.h"
#include "refuse.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* --- The allocator --- */

/* The number of allocated blocks. */
static atomic_long live;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);

static void *made(void *p)
{
    if (p)
        atomic_fetch_add(&live, 1);
    return p;
}

void *malloc(size_t n)
{
    return refuse() ? NULL : made(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : made(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (refuse())
        return NULL;
    return p ? __libc_realloc(p, n) : made(__libc_realloc(p, n));
}

void *memalign(size_t align, size_t n)
{
    return refuse() ? NULL : made(__libc_memalign(align, n));
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **to, size_t align, size_t n)
{
    void *p = memalign(align, n);

    if (!p)
        return ENOMEM;
    *to = p;
    return 0;
}

void free(void *p)
{
    if (p)
        atomic_fetch_sub(&live, 1);
    __libc_free(p);
}

/* --- The objects of the calls, made anew for each --- */

static gmp_chan *empty, *full, *ints;
static gmp_mutex held, mutex;
static gmp_rwmutex rw;
static gmp_cond cond;
static gmp_sema sema;
static gmp_barrier barrier;
static gmp_waitgroup wg;
static atomic_bool wg_due;
static gmp_once once;
static gmp_group *group;
static gmp_key *key;
static gmp_timer *timer;
static gmp_g *other; /* waits for `hold` */
static gmp_sema hold;
static gmp_g *_Atomic parked;
static int in[2], out[2], sock[2], listener, file = -1;
static char file_name[] = "/tmp/gmprt-enomem-XXXXXX";
static struct sockaddr_in address;
static int one = 1;
static char buf[64];
static struct iovec iov = {buf, 1};
static atomic_int ran;

/* Whether the calls are made on a goroutine: some are not for host threads. */
static bool on_goroutine;

static int64_t soon(void)
{
    return gmp_after_ns(US(300));
}

static void nop(void *arg)
{
    atomic_fetch_add(&ran, 1);
}

static int nop_int(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return 0;
}

static int nop_main(int argc, char **argv)
{
    atomic_fetch_add(&ran, 1);
    return 0;
}

static void wait_hold(void *arg)
{
    gmp_sema_acquire(&hold);
}

static int keep_handle(gmp_g *g, void *lock)
{
    atomic_store(&parked, g);
    return 1;
}

static gmp_chan *made_chan(size_t capacity)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), capacity);

    CHECK(ch != NULL);
    return ch;
}

static void set_up(void)
{
    gmp_attr attr = GMP_ATTR_INIT;

    empty = made_chan(1);
    full = made_chan(1);
    ints = made_chan(4);
    CHECK_OK(gmp_chan_try_send(full, &one));
    memset(&held, 0, sizeof held);
    memset(&mutex, 0, sizeof mutex);
    memset(&rw, 0, sizeof rw);
    memset(&cond, 0, sizeof cond);
    memset(&sema, 0, sizeof sema);
    barrier = (gmp_barrier)GMP_BARRIER_INIT(2);
    memset(&wg, 0, sizeof wg);
    memset(&once, 0, sizeof once);
    memset(&hold, 0, sizeof hold);
    CHECK_OK(gmp_mutex_trylock(&held));
    CHECK_OK(gmp_mutex_trylock(&mutex));
    CHECK_OK(gmp_rwmutex_trylock(&rw));
    CHECK_OK(gmp_waitgroup_add(&wg, 1));
    wg_due = true;
    CHECK((group = gmp_group_make()) != NULL);
    CHECK((key = gmp_key_create(NULL)) != NULL);
    CHECK((timer = gmp_timer_start(SEC(1000), 0, nop, NULL)) != NULL);
    CHECK_OK(gmp_go_with(&attr, wait_hold, NULL, &other));
    CHECK_OK(pipe(in));
    CHECK_OK(pipe(out));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
    atomic_store(&parked, NULL);
}

static void tear_down(void)
{
    int *fds[] = {in, out, sock};

    CHECK_OK(gmp_chan_close(ints));
    gmp_chan_unref(empty);
    gmp_chan_unref(full);
    gmp_chan_unref(ints);
    CHECK_OK(gmp_group_cancel(group));
    gmp_group_free(group);
    CHECK_OK(gmp_key_delete(key));
    gmp_timer_free(timer);
    CHECK_OK(gmp_sema_release(&hold));
    if (other)
        CHECK_OK(gmp_join(other));
    for (int i = 0; i < 6; i++)
        CHECK_OK(gmp_close(fds[i / 2][i % 2]));
}

/* --- The thread that ends waits without a deadline --- */

static void (*_Atomic wake)(void);
static atomic_long rounds;
static atomic_bool over;

static void waker(void *arg)
{
    while (!over) {
        void (*f)(void) = wake;

        if (f)
            f();
        rounds++;
        CHECK_OK(gmp_sleep(US(50)));
    }
}

static void wake_recv(void) { gmp_chan_try_send(empty, &one); }
static void wake_send(void) { int got; gmp_chan_try_recv(full, &got); }
static void wake_lock(void) { gmp_mutex_unlock(&held); }
static void wake_rw(void) { gmp_rwmutex_unlock(&rw); }
static void wake_cond(void) { gmp_cond_broadcast(&cond); }
static void wake_sema(void) { gmp_sema_release(&sema); }
static void wake_barrier(void) { gmp_barrier_wait_until(&barrier, 0); }
static void wake_hold(void) { gmp_sema_release(&hold); }
static void wake_park(void) { gmp_ready(parked); }
static void wake_read(void) { CHECK_EQ(write(in[1], "x", 1), 1); }
static void wake_sock(void) { CHECK_EQ(write(sock[1], "x", 1), 1); }

static void wake_wg(void)
{
    if (atomic_exchange(&wg_due, false))
        CHECK_OK(gmp_waitgroup_done(&wg));
}

static void wake_accept(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    connect(fd, (struct sockaddr *)&address, sizeof address);
    CHECK_OK(close(fd));
}

#endif
