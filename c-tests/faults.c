/* A little of everything that the library does, with exact books, for a run
 * under faults_inject, which refuses one of its system calls.
 *
 * Each step is a group of goroutines. A member that is refused something says
 * so by its result, which cancels the others; the step is then *told*, and has
 * no books to balance. Without an error the books must balance. A line for
 * each step that was told goes to stdout, then "done".
 *
 * The program's own calls between the marks go through the library, but for a
 * few that it does not make itself (kill, read), or that are made before.
 */
#include "test.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "faults.h"

#define MEMBERS 24

typedef int (*member)(void *);

/* Made before the marks: pipes, and pairs of sockets. */
enum { DATA, GO, GATE, QUIET, HANDOFF, MOVED, PIPES };
static int pipes[PIPES][2], pair[2], nowhere;

static struct {
    const char *step;
    int error;
} told[64];
static int ntold;

static void tell(const char *step, long error)
{
    CHECK(error < 0 && error > -4096);
    told[ntold].step = step;
    told[ntold++].error = (int)error;
}

/* Runs the members to their end. True: nobody was refused anything. */
static bool run(const char *step, const member *members, int n)
{
    gmp_group *group = gmp_group_make();
    int before = ntold, r = 0;

    if (!group) {
        tell(step, -ENOMEM);
        return false;
    }
    for (int i = 0; i < n && r == 0; i++)
        r = gmp_group_go(group, members[i], (void *)(intptr_t)i);
    if (r != 0) {
        tell(step, r);
        gmp_group_cancel(group);
        close(pipes[HANDOFF][1]);      /* for who waits there, uncancelled */
    }
    r = gmp_group_wait(group);
    gmp_group_free(group);
    if (r != 0)
        tell(step, r);
    return ntold == before;
}

/* n times the same member. */
static bool run_all(const char *step, member f, int n)
{
    member members[MEMBERS];

    for (int i = 0; i < n; i++)
        members[i] = f;
    return run(step, members, n);
}

/* --- Channels, select --------------------------------------------------- */

enum { PRODUCERS = 3, EACH = 200 };

static gmp_chan *numbers[2];
static atomic_int producing;
static atomic_long produced, consumed;

static int produce(void *arg)
{
    for (long i = 1; i <= EACH; i++) {
        int r = gmp_chan_send(numbers[(intptr_t)arg % 2], &i);

        if (r != 0)
            return r;
        atomic_fetch_add(&produced, i);
    }
    if (atomic_fetch_sub(&producing, 1) == 1) {
        gmp_chan_close(numbers[0]);
        gmp_chan_close(numbers[1]);
    }
    return 0;
}

static int consume(void *arg)
{
    long got[2];
    gmp_case cases[2] = {
        {.ch = numbers[0], .elem = &got[0], .op = GMP_RECV},
        {.ch = numbers[1], .elem = &got[1], .op = GMP_RECV},
    };
    int open = 2;

    while (open > 0) {
        int i = gmp_select_until(cases, 2, gmp_after_ns(SEC(20)));

        if (i < 0)
            return i;
        if (cases[i].result == 0) {
            atomic_fetch_add(&consumed, got[i]);
        } else {
            cases[i].ch = NULL;
            open--;
        }
    }
    return 0;
}

static void channels(void)
{
    member members[PRODUCERS + 2] = {consume, consume};

    numbers[0] = gmp_chan_make(sizeof(long), 0);
    numbers[1] = gmp_chan_make(sizeof(long), 4);
    if (!numbers[0] || !numbers[1]) {
        tell("channels", -ENOMEM);
        return;
    }
    atomic_store(&producing, PRODUCERS);
    for (int i = 2; i < PRODUCERS + 2; i++)
        members[i] = produce;
    if (run("channels", members, PRODUCERS + 2)) {
        CHECK_EQ(atomic_load(&produced), PRODUCERS * EACH * (EACH + 1) / 2);
        CHECK_EQ(atomic_load(&consumed), atomic_load(&produced));
    }
}

/* --- Mutexes, timers ----------------------------------------------------- */

static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_cond cond = GMP_COND_INIT;
static long counter, turn;

static int count(void *arg)
{
    for (int i = 0; i < 100; i++) {
        int r = gmp_mutex_lock(&mutex);

        if (r != 0)
            return r;
        counter++;
        gmp_yield();
        gmp_mutex_unlock(&mutex);
    }
    return 0;
}

static int take_turns(void *arg)
{
    for (long i = (intptr_t)arg; i < 60; i += 4) {
        int r = gmp_mutex_lock(&mutex);

        while (r == 0 && turn != i)
            r = gmp_cond_wait(&cond, &mutex);
        if (r != 0)
            return r;
        turn++;
        gmp_cond_broadcast(&cond);
        gmp_mutex_unlock(&mutex);
    }
    return 0;
}

static void mutexes(void)
{
    if (run_all("mutex", count, 4))
        CHECK_EQ(counter, 400);
    if (run_all("cond", take_turns, 4))
        CHECK_EQ(turn, 60);
}

static int nap(void *arg)
{
    for (int i = 0; i < 5; i++) {
        int64_t until = gmp_after_ns(MS(1 + (intptr_t)arg % 3));
        int r = gmp_sleep_until(until);

        if (r != 0)
            return r;
        CHECK(gmp_now() >= until);
    }
    return 0;
}

static int await_timer(void *arg)
{
    gmp_chan *ch = gmp_after(MS(3));
    int64_t when;
    int r;

    if (!ch)
        return -ENOMEM;
    r = gmp_chan_recv_until(ch, &when, gmp_after_ns(SEC(20)));
    gmp_chan_unref(ch);
    return r;
}

static void timers(void)
{
    run_all("sleep", nap, 6);
    run_all("timer", await_timer, 3);
}

/* --- Descriptors --------------------------------------------------------- */

static atomic_long bytes_out, bytes_in;

static int write_pipe(void *arg)
{
    for (int i = 0; i < 40; i++) {
        char text[64] = "";
        ssize_t n = gmp_write_all(pipes[DATA][1], text, 1 + i % sizeof text);

        if (n < 0)
            return (int)n;
        atomic_fetch_add(&bytes_out, n);
        if (i % 8 == 0)
            gmp_sleep(US(300));
    }
    return gmp_close(pipes[DATA][1]);
}

static int read_pipe(void *arg)
{
    for (;;) {
        char text[48];
        ssize_t n = gmp_read(pipes[DATA][0], text, sizeof text);

        if (n <= 0)
            return (int)n;
        atomic_fetch_add(&bytes_in, n);
    }
}

static void pipe_of_bytes(void)
{
    static const member members[] = {read_pipe, write_pipe};

    if (run("pipe", members, 2)) {
        CHECK(atomic_load(&bytes_out) > 0);
        CHECK_EQ(atomic_load(&bytes_in), atomic_load(&bytes_out));
    }
}

static int send_messages(void *arg)
{
    for (int i = 0; i < 30; i++) {
        struct iovec iov = {&i, sizeof i};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = i % 3 == 0 ? gmp_sendmsg(pair[0], &msg, 0)
                    : i % 3 == 1 ? gmp_writev(pair[0], &iov, 1)
                                 : gmp_write(pair[0], &i, sizeof i);

        if (n < 0)
            return (int)n;
        CHECK_EQ(n, sizeof i);
        if (i % 5 == 0)
            gmp_sleep(US(200));
    }
    return 0;
}

static int receive_messages(void *arg)
{
    for (int i = 0; i < 30; i++) {
        int got = -1;
        struct iovec iov = {&got, sizeof got};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = i % 3 == 0 ? gmp_recvmsg(pair[1], &msg, 0)
                    : i % 3 == 1 ? gmp_readv(pair[1], &iov, 1)
                                 : gmp_read(pair[1], &got, sizeof got);

        if (n < 0)
            return (int)n;
        CHECK_EQ(n, sizeof got);
        CHECK_EQ(got, i);
    }
    return 0;
}

static void messages(void)
{
    static const member members[] = {receive_messages, send_messages};

    run("messages", members, 2);
}

static int listener = -1;
static char address[32];

static int serve(void *arg)
{
    for (int i = 0; i < 3; i++) {
        char text[16];
        int fd = gmp_accept(listener, NULL, NULL);
        ssize_t n;

        if (fd < 0)
            return fd;
        n = gmp_read_full(fd, text, sizeof text);
        if (n == sizeof text)
            n = gmp_write_all(fd, text, sizeof text);
        fd = gmp_close(fd);
        if (n < 0 || fd < 0)
            return n < 0 ? (int)n : fd;
    }
    return 0;
}

static int ask(void *arg)
{
    for (int i = 0; i < 3; i++) {
        char text[16] = "0123456789abcde", back[16] = "";
        int fd = gmp_dial("tcp", address);
        ssize_t n;

        if (fd < 0)
            return fd;
        n = gmp_write_all(fd, text, sizeof text);
        if (n == sizeof text)
            n = gmp_read_full(fd, back, sizeof back);
        fd = gmp_close(fd);
        if (n < 0 || fd < 0)
            return n < 0 ? (int)n : fd;
        CHECK(memcmp(text, back, sizeof text) == 0);
    }
    return 0;
}

static void sockets(void)
{
    static const member members[] = {serve, ask};
    struct sockaddr_in in;
    socklen_t len = sizeof in;

    listener = gmp_listen("tcp", "127.0.0.1:0");
    if (listener < 0) {
        tell("listen", listener);
        return;
    }
    if (getsockname(listener, (struct sockaddr *)&in, &len) != 0) {
        tell("listen", -errno);        /* it was our own call */
    } else {
        snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(in.sin_port));
        run("sockets", members, 2);
    }
    gmp_close(listener);
}

/* --- Files, children, names ---------------------------------------------- */

static int use_file(void *arg)
{
    char path[64], text[32] = "", data[] = "a file's content, to and fro";
    int64_t offset = 0;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/tmp/gmprt-faults-%d", (int)getpid());
    fd = gmp_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return fd;
    unlink(path);
    n = gmp_pwrite(fd, data, sizeof data, 0);
    if (n == sizeof data)
        n = gmp_fsync(fd);
    if (n == 0)
        n = gmp_pread(fd, text, sizeof text, 0);
    if (n > 0)
        n = gmp_sendfile(pipes[MOVED][1], fd, &offset, sizeof data);
    if (n == sizeof data) {
        CHECK_EQ(memcmp(text, data, sizeof data), 0);
        memset(text, 0, sizeof text);
        n = gmp_read(pipes[MOVED][0], text, sizeof text);
    }
    if (n == sizeof data) {
        CHECK_EQ(memcmp(text, data, sizeof data), 0);
        n = gmp_write(pipes[MOVED][1], data, 8);
    }
    if (n == 8)
        n = gmp_splice(pipes[MOVED][0], NULL, fd, NULL, 8, 0);
    if (n == 8)
        n = gmp_write(fd, data, 8);
    if (n == 8)
        n = gmp_read(fd, data, 8);
    gmp_close(fd);
    return n < 0 ? (int)n : 0;
}

enum { CHILDREN = 2 };
static pid_t children[CHILDREN];
static int leashes[CHILDREN][2];

static int await_child(void *arg)
{
    int i = (int)(intptr_t)arg, status = 0;
    ssize_t n = gmp_write(leashes[i][1], "x", 1);
    int r;

    if (n < 0) {
        kill(children[i], SIGKILL);
        return (int)n;
    }
    r = gmp_waitpid(children[i], &status, 0);
    if (r < 0)
        return r;
    CHECK_EQ(r, children[i]);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return 0;
}

static int resolve(void *arg)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int r = gmp_getaddrinfo("localhost", "80", &hints, &list);

    if (r == 0) {
        CHECK(list != NULL);
        freeaddrinfo(list);
    }
    return r;
}

static int get_signal(void *arg)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 1);
    int got = 0, r;

    if (!ch)
        return -ENOMEM;
    r = gmp_signal_notify(ch, SIGUSR1);
    if (r == 0) {
        kill(getpid(), SIGUSR1);
        r = gmp_chan_recv_until(ch, &got, gmp_after_ns(SEC(20)));
        CHECK(r != 0 || got == SIGUSR1);
        gmp_signal_stop(ch, SIGUSR1);
    }
    gmp_chan_unref(ch);
    return r;
}

/* --- Threads ------------------------------------------------------------- */

static int lock_thread(void *arg)
{
    int r = gmp_lock_os_thread();
    long thread = thread_id();

    for (int i = 0; r == 0 && i < 20; i++) {
        gmp_yield();
        CHECK_EQ(thread_id(), thread);
    }
    return r != 0 ? r : gmp_unlock_os_thread();
}

/* Blocks in a call that the library does not see, for a fifth of a second at a
 * time: with one thread and no second to be had, the goroutine that ends the
 * wait runs in between. */
static int block(void *arg)
{
    struct pollfd readable = {.fd = pipes[HANDOFF][0], .events = POLLIN};
    struct timespec fifth = {.tv_nsec = MS(200)};
    char c;

    while (ppoll(&readable, 1, &fifth, NULL) == 0)
        gmp_yield();
    return read(pipes[HANDOFF][0], &c, 1) < 0 ? -errno : 0;
}

static int unblock(void *arg)
{
    ssize_t n;

    gmp_yield();
    n = gmp_write(pipes[HANDOFF][1], "x", 1);
    if (n < 0)
        close(pipes[HANDOFF][1]);
    return n < 0 ? (int)n : 0;
}

static gmp_chan *reports;
static atomic_int early;

static void square(void *arg)
{
    *(long *)arg *= *(long *)arg;
}

/* A thread of the host's, which waits for the start in the kernel. */
static void *host_thread(void *arg)
{
    gmp_attr attr = GMP_ATTR_INIT;
    long number = 0, r = 0;
    gmp_g *g = NULL;
    char c;

    if (read(pipes[GO][0], &c, 1) != 1) {
        atomic_store(&early, -EIO);    /* it was our own call, after BEGIN */
    } else {
        for (long i = 0; i < 20 && r == 0; i++) {
            number = i;
            r = gmp_go_with(&attr, square, &number, &g);
            if (r == 0)
                r = gmp_join(g);
            CHECK(r != 0 || number == i * i);
        }
        gmp_chan_send(reports, &r);
    }
    return NULL;
}

static void host_threads(void)
{
    long r = 0;

    if (atomic_load(&early) != 0) {
        tell("hosts", atomic_load(&early));
        return;
    }
    for (int i = 0; i < 2; i++) {
        ssize_t n = gmp_write(pipes[GO][1], "x", 1);

        if (n < 0) {
            tell("hosts", n);
            return;
        }
    }
    for (int i = 0; i < 2; i++) {
        int got = gmp_chan_recv(reports, &r);

        if (got != 0 || r != 0) {
            tell("hosts", got ? got : r);
            return;
        }
    }
}

/* Deep enough to touch a few pages. */
static int use_stack(void *arg)
{
    volatile char room[20000];

    for (size_t i = 0; i < sizeof room; i += 1000)
        room[i] = (char)i;
    gmp_sleep(MS(1));
    for (size_t i = 0; i < sizeof room; i += 1000)
        CHECK_EQ(room[i], (char)i);
    return 0;
}

static void many_stacks(void)
{
    for (int i = 0; i < 4; i++)
        if (!run_all("stacks", use_stack, MEMBERS))
            return;
}

/* --- A dump --------------------------------------------------------------- */

static atomic_bool computes, seen;

/* Until the dump is there; a while where nothing can run beside it. */
static int compute(void *arg)
{
    atomic_store(&computes, true);
    for (int i = 0; i < 5000 && !atomic_load(&seen); i++)
        spin_ns(US(100));
    return 0;
}

/* Asks the goroutine that computes for its stack, by a signal. */
static int look(void *arg)
{
    int r = 0;

    while (r == 0 && !atomic_load(&computes))
        r = gmp_sleep(US(100));
    if (r == 0)
        r = gmp_dump(nowhere, GMP_DUMP_STACKS);
    atomic_store(&seen, true);
    return r;
}

/* --- The collected heap --------------------------------------------------- */

enum { OBJECTS = 500, BUFFER = 24 << 20 };

struct object {
    struct object *next;
    long number, room[5];
};

static gmp_chan *lists;
static atomic_int lists_due;
static atomic_bool gathered;

/* A list whose only pointers are in the heap and on this stack. */
static int make_list(void *arg)
{
    struct object *list = NULL;
    int r = 0;

    for (long i = 0; i < OBJECTS && r == 0; i++) {
        struct object *it = gmp_gc_alloc(sizeof *it);

        if (it == NULL)
            return -ENOMEM;
        CHECK(it->next == NULL && it->room[4] == 0);
        it->next = list;
        it->number = i;
        list = it;
        if (i % 100 == 50)
            r = gmp_gc();
    }
    return r != 0 ? r : gmp_chan_send(lists, &list);
}

static int take_lists(void *arg)
{
    struct object *list;
    int r = 0;

    while (r == 0 && atomic_fetch_sub(&lists_due, 1) > 0) {
        long n = OBJECTS;

        r = gmp_chan_recv_until(lists, &list, gmp_after_ns(SEC(20)));
        for (struct object *it = r == 0 ? list : NULL; it; it = it->next)
            CHECK_EQ(it->number, --n);
        CHECK(r != 0 || n == 0);
        for (struct object *it = r == 0 ? list : NULL; it && n < 10; n++) {
            struct object *next = it->next;

            CHECK_OK(gmp_gc_free(it));
            it = next;
        }
    }
    atomic_store(&gathered, true);
    return r;
}

/* Only a signal stops it. */
static int computes_on(void *arg)
{
    for (int i = 0; i < 200 && !atomic_load(&gathered); i++)
        spin_ns(US(100));
    return 0;
}

/* So much that several threads mark it, and that it is given back. */
static int take_much(void *arg)
{
    char *all[2];
    int r = 0;

    for (int i = 0; i < 2; i++) {
        all[i] = gmp_gc_alloc_noscan(BUFFER);
        if (all[i] == NULL)
            return -ENOMEM;
        all[i][0] = all[i][BUFFER - 1] = 1;
    }
    for (int i = 0; i < 2 && r == 0; i++)
        r = gmp_gc();
    for (int i = 0; i < 2; i++) {
        CHECK(all[i][0] == 1 && all[i][BUFFER - 1] == 1);
        CHECK_OK(gmp_gc_free(all[i]));
    }
    return r != 0 ? r : gmp_gc();
}

static void collected(void)
{
    static const member members[] = {take_lists, make_list, make_list,
                                     make_list,  take_much, computes_on};

    lists = gmp_gc_chan_make(sizeof(struct object *), 1);
    if (lists == NULL) {
        tell("collected", -ENOMEM);
        return;
    }
    atomic_store(&lists_due, 3);
    run("collected", members, 6);
}

/* --- Silence -------------------------------------------------------------- */

static int read_nothing(void *arg)
{
    char c;
    ssize_t n = gmp_read(pipes[QUIET][0], &c, 1);

    return n < 0 ? (int)n : 0;
}

static int watch_silence(void *arg)
{
    int r = gmp_sleep(MS(5));

    syscall(MARK, IDLE);
    if (r == 0)
        r = gmp_sleep(MS(150));
    syscall(MARK, BUSY);
    return r != 0 ? r : gmp_close(pipes[QUIET][1]);
}

static void silence(void)
{
    static const member members[] = {read_nothing, watch_silence};

    run("silence", members, 2);
}

static void steps(void)
{
    static const member handoff[] = {block, unblock};
    static const member dump[] = {compute, look};
    int r = gmp_wait_init();

    if (r != 0) {
        tell("start", r);
        return;
    }
    for (int n = 4; n >= 2 && r >= 0; n--)
        r = gmp_set_maxprocs(n);
    if (r < 0)
        tell("maxprocs", r);
    reports = gmp_chan_make(sizeof(long), 2);
    channels();
    mutexes();
    timers();
    pipe_of_bytes();
    messages();
    sockets();
    run_all("file", use_file, 1);
    run_all("children", await_child, CHILDREN);
    run_all("names", resolve, 1);
    run_all("signal", get_signal, 1);
    run_all("locked", lock_thread, 2);
    many_stacks();
    if (reports)
        host_threads();
    run("dump", dump, 2);
    collected();
    gmp_set_maxprocs(1);
    run("handoff", handoff, 2);
    silence();
}

/* What is there before the marks. The children first: they keep no ends. */
static void prepare(pthread_t *hosts)
{
    for (int i = 0; i < CHILDREN; i++) {
        CHECK_OK(pipe(leashes[i]));
        children[i] = fork();
        if (children[i] == 0) {
            char c;

            bool let_go;

            close(leashes[i][1]);
            let_go = read(leashes[i][0], &c, 1) == 1;
            block_ns(MS(30));           /* until somebody waits for its end */
            _exit(let_go ? 7 : 8);
        }
        /* Between the marks its call would be refused. */
        await_sleep(children[i]);
    }
    for (int i = 0; i < PIPES; i++)
        CHECK_OK(pipe2(pipes[i], O_CLOEXEC));
    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(nowhere >= 0);
    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_create(&hosts[i], NULL, host_thread, NULL));
    block_ns(MS(2));
}

int test_main(int argc, char **argv)
{
    pthread_t hosts[2];

    prepare(hosts);
    syscall(MARK, BEGIN);
    steps();
    syscall(MARK, END);
    for (int i = 0; i < ntold; i++)
        printf("told %s %d\n", told[i].step, -told[i].error);
    for (int i = 0; i < CHILDREN; i++)
        kill(children[i], SIGKILL);
    puts("done");
    return 0;
}
