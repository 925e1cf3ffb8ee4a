/* A deadline in the past tries once, in every call that takes one: where that
 * can succeed it does, else it is -ETIMEDOUT at once, on goroutines and on host
 * threads alike. */
#include "test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

static gmp_chan *full, *empty;
static gmp_mutex locked = GMP_MUTEX_INIT, unlocked = GMP_MUTEX_INIT;
static gmp_rwmutex held = GMP_RWMUTEX_INIT, free_rw = GMP_RWMUTEX_INIT;
static gmp_barrier one = GMP_BARRIER_INIT(1), two = GMP_BARRIER_INIT(2);
static gmp_sema no_token = GMP_SEMA_INIT(0), token = GMP_SEMA_INIT(1);
static gmp_waitgroup busy = GMP_WAITGROUP_INIT, done = GMP_WAITGROUP_INIT;
static gmp_once running = GMP_ONCE_INIT;
static gmp_cond cond = GMP_COND_INIT;
static gmp_group *busy_group, *idle_group;
static gmp_g *lasting;
static atomic_bool over;
static int silent[2], ready[2]; /* socket pairs */
static int choked;              /* cannot be written to */
static int listener, visited;   /* without a client, and with one */
static char visited_at[40];

static void nothing(void *arg)
{
}

static void until_over(void *arg)
{
    AWAIT(atomic_load(&over));
}

static int member(void *arg)
{
    until_over(arg);
    return 0;
}

static void run_once(void *arg)
{
    gmp_once_do(&running, until_over, NULL);
}

static int64_t count(int64_t result, int64_t want)
{
    return result == want ? 0 : result < 0 ? result : -EIO;
}

/* One call: it succeeds (0), or cannot. */
typedef int64_t attempt(int64_t past, bool can);

static int64_t chan_send(int64_t past, bool can)
{
    int x = 1;
    int64_t r = gmp_chan_send_until(can ? empty : full, &x, past);

    if (r == 0 && can)
        CHECK_OK(gmp_chan_recv(empty, &x));
    return r;
}

static int64_t chan_recv(int64_t past, bool can)
{
    int x;
    int64_t r = gmp_chan_recv_until(can ? full : empty, &x, past);

    if (r == 0 && can)
        CHECK_OK(gmp_chan_send(full, &x));
    return r;
}

static int64_t select_one(int64_t past, bool can)
{
    int x = 0;
    gmp_case cases[2] = {
        {.ch = full, .elem = &x, .op = can ? GMP_RECV : GMP_SEND},
        {.ch = empty, .elem = &x, .op = GMP_RECV},
    };
    int r = gmp_select_until(cases, 2, past);

    if (r == 0 && can)
        CHECK_OK(gmp_chan_send(full, &x));
    return r;
}

static int64_t mutex(int64_t past, bool can)
{
    gmp_mutex *m = can ? &unlocked : &locked;
    int64_t r = gmp_mutex_lock_until(m, past);

    if (r == 0)
        CHECK_OK(gmp_mutex_unlock(m));
    return r;
}

static int64_t rwmutex(int64_t past, bool can)
{
    gmp_rwmutex *rw = can ? &free_rw : &held;
    int64_t r = gmp_rwmutex_lock_until(rw, past);

    if (r == 0)
        CHECK_OK(gmp_rwmutex_unlock(rw));
    return r;
}

static int64_t rwmutex_read(int64_t past, bool can)
{
    gmp_rwmutex *rw = can ? &free_rw : &held;
    int64_t r = gmp_rwmutex_rlock_until(rw, past);

    if (r == 0)
        CHECK_OK(gmp_rwmutex_runlock(rw));
    return r;
}

static int64_t sema(int64_t past, bool can)
{
    int64_t r = gmp_sema_acquire_until(can ? &token : &no_token, past);

    if (r == 0)
        CHECK_OK(gmp_sema_release(&token));
    return r;
}

static int64_t barrier(int64_t past, bool can)
{
    int64_t r = gmp_barrier_wait_until(can ? &one : &two, past);

    return r == 1 ? 0 : r;
}

static int64_t waitgroup(int64_t past, bool can)
{
    return gmp_waitgroup_wait_until(can ? &done : &busy, past);
}

static int64_t group(int64_t past, bool can)
{
    return gmp_group_wait_until(can ? idle_group : busy_group, past);
}

static int64_t once(int64_t past, bool can)
{
    gmp_once fresh = GMP_ONCE_INIT;

    return gmp_once_do_until(can ? &fresh : &running, nothing, NULL, past);
}

/* A wait for a signal has nothing to try: it lets others in for a moment. */
static int64_t condition(int64_t past, bool can)
{
    gmp_mutex m = GMP_MUTEX_INIT;
    int64_t r;

    CHECK_OK(gmp_mutex_lock(&m));
    r = gmp_cond_wait_until(&cond, &m, past);
    CHECK_OK(gmp_mutex_unlock(&m));
    return can && r == -ETIMEDOUT ? 0 : r;
}

/* Whether a goroutine has ended only its join can tell. */
static int64_t join(int64_t past, bool can)
{
    gmp_g *g = can ? spawn(nothing, NULL) : lasting;
    int64_t r;

    while ((r = gmp_join_until(g, past)) == -ETIMEDOUT && can)
        gmp_sleep(US(10));
    return r;
}

static int64_t park(int64_t past, bool can)
{
    if (can)
        CHECK_OK(gmp_ready(gmp_self()));
    return gmp_park_until(NULL, NULL, NULL, past);
}

static int64_t read_some(int64_t past, bool can)
{
    char c[8];

    if (can)
        CHECK_EQ(write(ready[1], "abc", 3), 3);
    return count(gmp_read_until((can ? ready : silent)[0], c, 8, past), 3);
}

static int64_t read_vector(int64_t past, bool can)
{
    char c[8];
    struct iovec v = {c, 8};

    if (can)
        CHECK_EQ(write(ready[1], "abc", 3), 3);
    return count(gmp_readv_until((can ? ready : silent)[0], &v, 1, past), 3);
}

static int64_t read_all(int64_t past, bool can)
{
    char c[3];
    size_t n = 9;
    int64_t r;

    if (can)
        CHECK_EQ(write(ready[1], "abc", 3), 3);
    r = gmp_read_full_until((can ? ready : silent)[0], c, 3, &n, past);
    CHECK_EQ(n, can ? 3 : 0);
    return r;
}

static int64_t receive(int64_t past, bool can)
{
    char c[8];

    if (can)
        CHECK_EQ(write(ready[1], "abc", 3), 3);
    return count(gmp_recvfrom_until((can ? ready : silent)[0], c, 8, 0, NULL,
                                    NULL, past), 3);
}

static void drain(int64_t n)
{
    char c[8];

    if (n > 0)
        CHECK_EQ(read(ready[0], c, sizeof c), n);
}

static int64_t write_some(int64_t past, bool can)
{
    int64_t n = gmp_write_until(can ? ready[1] : choked, "abc", 3, past);

    drain(n);
    return count(n, 3);
}

static int64_t write_all(int64_t past, bool can)
{
    size_t n = 9;
    int64_t r = gmp_write_all_until(can ? ready[1] : choked, "abc", 3, &n,
                                    past);

    drain((int64_t)n);
    return r;
}

static int64_t send_some(int64_t past, bool can)
{
    int64_t n = gmp_sendto_until(can ? ready[1] : choked, "abc", 3, 0, NULL, 0,
                                 past);

    drain(n);
    return count(n, 3);
}

static int64_t wait_fd(int64_t past, bool can)
{
    return count(gmp_wait_fd(can ? ready[1] : choked, GMP_WRITABLE, past),
                 GMP_WRITABLE);
}

static int64_t dial_and_accept(int64_t past, bool can)
{
    int client, server;

    if (!can)
        return gmp_accept_until(listener, NULL, NULL, past);
    client = gmp_dial_until("tcp", visited_at, past);
    CHECK(client >= 0);
    server = gmp_accept_until(visited, NULL, NULL, past);
    CHECK(server >= 0);
    CHECK_OK(gmp_close(client));
    CHECK_OK(gmp_close(server));
    return 0;
}

static int64_t waitpid_one(int64_t past, bool can)
{
    pid_t child = fork();
    siginfo_t info;
    int64_t r;

    CHECK(child >= 0);
    if (child == 0) {
        while (!can)
            pause();
        _exit(0);
    }
    if (can)
        CHECK_OK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
    r = gmp_waitpid_until(child, NULL, 0, past);
    if (can)
        return count(r, child);
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    return r;
}

static const struct {
    const char *name;
    attempt *attempt;
} calls[] = {
    {"chan_send", chan_send}, {"chan_recv", chan_recv},
    {"select", select_one}, {"mutex_lock", mutex},
    {"rwmutex_lock", rwmutex}, {"rwmutex_rlock", rwmutex_read},
    {"sema_acquire", sema}, {"waitgroup_wait", waitgroup},
    {"barrier_wait", barrier},
    {"group_wait", group}, {"once_do", once}, {"cond_wait", condition},
    {"join", join}, {"park", park}, {"read", read_some},
    {"readv", read_vector}, {"read_full", read_all}, {"recvfrom", receive},
    {"write", write_some}, {"write_all", write_all}, {"sendto", send_some},
    {"wait_fd", wait_fd}, {"dial, accept", dial_and_accept},
    {"waitpid", waitpid_one},
};

static void try_all(void *arg)
{
    static const int64_t past[] = {0, 1, -1, INT64_MIN};

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (size_t k = 0; k < sizeof past / sizeof *past; k++) {
            int64_t can = calls[i].attempt(past[k], true);
            int64_t cannot = calls[i].attempt(past[k], false);

            if (can != 0 || cannot != -ETIMEDOUT) {
                fprintf(stderr, "%s: %lld, %lld\n", calls[i].name,
                        (long long)can, (long long)cannot);
                exit(1);
            }
        }
}

static void *try_all_on_thread(void *arg)
{
    try_all(arg);
    return NULL;
}

static void make_descriptors(void)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    char block[4096] = "";
    int pair[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, silent));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ready));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    choked = pair[1];
    while (send(choked, block, sizeof block, MSG_DONTWAIT) > 0)
        continue;
    listener = gmp_listen("tcp4", "127.0.0.1:0");
    visited = gmp_listen("tcp4", "127.0.0.1:0");
    CHECK(listener >= 0 && visited >= 0);
    CHECK_OK(getsockname(visited, (struct sockaddr *)&address, &size));
    snprintf(visited_at, sizeof visited_at, "127.0.0.1:%d",
             ntohs(address.sin_port));
}

int test_main(int argc, char **argv)
{
    pthread_t thread;
    gmp_g *runner;
    int x = 0;

    full = gmp_chan_make(sizeof(int), 1);
    empty = gmp_chan_make(sizeof(int), 1);
    CHECK_OK(gmp_chan_send(full, &x));
    CHECK_OK(gmp_mutex_lock(&locked));
    CHECK_OK(gmp_rwmutex_lock(&held));
    CHECK_OK(gmp_waitgroup_add(&busy, 1));
    busy_group = gmp_group_make();
    idle_group = gmp_group_make();
    CHECK_OK(gmp_group_go(busy_group, member, NULL));
    lasting = spawn(until_over, NULL);
    runner = spawn(run_once, NULL);
    make_descriptors();
    gmp_sleep(MS(2));
    while (running._runner == 0)
        gmp_sleep(MS(1));
    CHECK_OK(gmp_join(spawn(try_all, NULL)));
    CHECK_OK(pthread_create(&thread, NULL, try_all_on_thread, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    atomic_store(&over, true);
    CHECK_OK(gmp_join(lasting));
    CHECK_OK(gmp_join(runner));
    gmp_group_free(busy_group);
    gmp_group_free(idle_group);
    return 0;
}
