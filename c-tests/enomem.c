/* Memory that is refused: every public function is called while the n-th
 * allocation or mapping fails, for each n, once alone and once with all that
 * follow; on a goroutine, on a host thread, and on a new host thread. Whatever
 * it says is documented, nothing is lost, and the next call works.
 *
 * OPS names each function of the header; tests/c_tests.rs compares. */
#include "enomem.h"

/* A function and what is called; `wake` ends its wait. */
struct op {
    const char *name;
    long (*run)(void);
    void (*wake)(void);
};

/* Null is want of memory. */
static long made_or_not(const void *p)
{
    return p ? 0 : -ENOMEM;
}

#define RUN(name, expr) \
    static long run_##name(void) { return (long)(expr); }

static long run_go_with(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;
    int r;

    attr.name = "a name that is longer than most";
    attr.stack_size = 16 << 20;
    if ((r = gmp_go_with(&attr, nop, NULL, &g)) == 0)
        gmp_release(g);
    return r;
}

/* A goroutine of steps, which names each wait. */
static struct {
    gmp_wait wait;
    gmp_wait_timer timer;
    int64_t elem;
    atomic_int at;
} steps;

static int names_all(gmp_wait *wait)
{
    int64_t now = gmp_now();

    (void)gmp_step_result();
    switch (steps.at++) {
    case 0:
        return gmp_step_send(NULL, &steps.elem, now, &steps.timer);
    case 1:
        return gmp_step_recv(NULL, &steps.elem, now, &steps.timer);
    case 2:
        return gmp_step_sleep(now + 1000, &steps.timer);
    case 3:
        return gmp_step_join(NULL, now, &steps.timer);
    case 4:
        return gmp_step_yield();
    default:
        return gmp_step_wait() == wait ? 0 : -1;
    }
}

static long run_go_step(void)
{
    int r;

    steps.at = 0;
    r = gmp_go_step(NULL, names_all, &steps.wait, NULL, NULL);
    while (r == 0 && steps.at < 6)
        gmp_yield();
    return r;
}

static void exits(void *arg)
{
    gmp_exit();
}

static long run_exit(void)
{
    return on_goroutine ? gmp_go(exits, NULL) : gmp_exit();
}

static void recovers(void *arg)
{
    CHECK(gmp_recover()->text != NULL);
}

static void panics(void *value)
{
    if (gmp_defer(recovers, NULL) != 0)
        return;
    if (value == NULL)
        gmp_panic("%d and a text that is longer than most", 5);
    gmp_panic_with(value);
}

static long run_panics(void)
{
    static int value;
    long r = gmp_call(panics, NULL, NULL);

    if (r >= 0)
        r = gmp_call(panics, &value, NULL);
    return r < 0 ? r : 0;
}

static long run_chan(void)
{
    gmp_chan *ch = gmp_chan_make(64, 100);

    if (ch) {
        CHECK_EQ(gmp_chan_cap(ch), 100);
        CHECK_EQ(gmp_chan_len(ch), 0);
        gmp_chan_unref(gmp_chan_ref(ch));
        CHECK_OK(gmp_chan_close(ch));
        gmp_chan_unref(ch);
    }
    return made_or_not(ch);
}

static long run_chan_with(void)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    gmp_chan *ch;

    attr.elem_size = 64;
    attr.capacity = 4;
    attr.name = "named";
    attr.destroy = nop;
    ch = gmp_chan_make_with(&attr);
    if (ch)
        CHECK_OK(gmp_chan_send(ch, buf));
    gmp_chan_unref(ch);
    return made_or_not(ch);
}

static long run_get_name(void)
{
    char name[64];

    return gmp_get_name(other, name, sizeof name);
}

static long run_value(void)
{
    gmp_sema three = GMP_SEMA_INIT(3);

    return gmp_sema_value(&three) == 3 ? 0 : -EIO;
}

static long run_key(void)
{
    gmp_key *k = gmp_key_create(NULL);
    int r = gmp_setspecific(k, buf);

    CHECK(gmp_getspecific(k) == (r ? NULL : buf));
    CHECK_OK(gmp_key_delete(k));
    return r;
}

static long select_many(int64_t deadline)
{
    gmp_case cases[40];

    for (int i = 0; i < 40; i++)
        cases[i] = (gmp_case){empty, buf, GMP_RECV, 0};
    return gmp_select_until(cases, 40, deadline);
}

static long run_try_select(void)
{
    gmp_case cases[40];

    for (int i = 0; i < 40; i++)
        cases[i] = (gmp_case){empty, buf, GMP_RECV, 0};
    return gmp_try_select(cases, 40);
}

static long run_group(void)
{
    gmp_group *gr = gmp_group_make();
    int r;

    if (!gr)
        return -ENOMEM;
    r = gmp_group_go(gr, nop_int, NULL);
    CHECK_OK(gmp_group_cancel(gr));
    gmp_group_free(gr);
    return r;
}

static long wait_group(int64_t deadline)
{
    int r = gmp_group_go(group, nop_int, NULL);

    return r ? r : gmp_group_wait_until(group, deadline);
}

static long run_timer(void)
{
    gmp_timer *t = gmp_timer_start(US(50), US(50), nop, NULL);
    gmp_timer *u = gmp_timer_start(SEC(1000), 0, nop, NULL);

    if (t)
        CHECK(gmp_timer_reset(t, US(10)) >= 0);
    if (u)
        CHECK(gmp_timer_stop(u) >= 0);
    gmp_timer_free(t);
    gmp_timer_free(u);
    return t && u ? 0 : -ENOMEM;
}

static long run_after(gmp_chan *ch)
{
    int r = ch ? gmp_chan_recv(ch, NULL) : -ENOMEM;

    gmp_chan_unref(ch);
    return r;
}

static long close_it(int fd)
{
    if (fd >= 0)
        CHECK_OK(gmp_close(fd));
    return fd;
}

static long accept_it(int64_t deadline)
{
    return close_it(gmp_accept_until(listener, NULL, NULL, deadline));
}

static long connect_it(int64_t deadline)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int r = gmp_connect_until(fd, (struct sockaddr *)&address, sizeof address,
                              deadline);

    CHECK_OK(close(fd));
    return r;
}

static const char *here(const char *host)
{
    static char text[64];

    snprintf(text, sizeof text, "%s:%d", host, ntohs(address.sin_port));
    return text;
}

static long look_up(int64_t deadline)
{
    struct addrinfo *list = NULL;
    int r = gmp_getaddrinfo_until("127.0.0.1", "80", NULL, &list, deadline);

    if (r == 0)
        freeaddrinfo(list);
    return r;
}

static struct msghdr *message(void)
{
    static struct msghdr msg;

    msg = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
    return &msg;
}

static long child(int64_t deadline)
{
    bool was = atomic_exchange(&armed, false);
    pid_t pid = fork();
    int r;

    if (pid == 0) {
        usleep(500);
        _exit(0);
    }
    atomic_store(&armed, was);
    r = gmp_waitpid_until(pid, NULL, 0, deadline);
    disarm();
    if (r < 0)
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    return r;
}

static long notify(void)
{
    int r = gmp_signal_notify(ints, SIGUSR2);

    if (r)
        return r;
    CHECK_OK(kill(getpid(), SIGUSR2));
    r = gmp_chan_recv(ints, buf);
    CHECK_OK(gmp_signal_stop(ints, SIGUSR2));
    return r;
}

static long procs(void)
{
    static int n;
    int before = gmp_set_maxprocs(0);
    int r;

    CHECK(before > 0);
    n = n % 8 + 1;
    if ((r = gmp_set_maxprocs(before + n)) >= 0)
        CHECK_EQ(gmp_set_maxprocs(before), before + n);
    else
        CHECK_EQ(gmp_set_maxprocs(0), before);
    return r;
}

static long shield(void)
{
    int r = gmp_shield_enter();

    return r ? r : gmp_shield_leave();
}

static long lock_thread(void)
{
    int r = gmp_lock_os_thread();

    return r ? r : gmp_unlock_os_thread();
}

static long yields(void)
{
    gmp_yield();
    gmp_checkpoint();
    return 0;
}

static long tells(void)
{
    gmp_self();
    gmp_goid();
    CHECK(gmp_num_goroutines() > 0);
    CHECK(gmp_args(NULL) > 0);
    CHECK_EQ(gmp_realtime_deadline(NULL), -EINVAL);
    return !gmp_cancelled() && gmp_rt_version() && gmp_strerror(-ENOMEM) &&
                   gmp_now() < soon()
               ? 0
               : -EIO;
}

static long mask(void)
{
    sigset_t before, now;
    int r = gmp_sigmask(SIG_BLOCK, NULL, &before);

    if (r == 0)
        r = gmp_sigmask(SIG_SETMASK, &before, &now);
    return r;
}

static void nothing(void) {}

static long task(void)
{
    static gmp_init_task one = {nothing, "nothing", {NULL}};
    int r = gmp_init_register(&one), gone = gmp_init_unregister(&one);

    return r != 0 ? r : gone;
}

static void *no_cxa(void)
{
    static uintptr_t globals[2];

    return globals;
}

static long join_it(int64_t deadline)
{
    int r = gmp_join_until(other, deadline);

    if (r == 0)
        other = NULL;
    return r;
}

static size_t done;
#define FOREVER GMP_FOREVER

RUN(go, gmp_go(nop, NULL))
RUN(go_copy, gmp_go_copy(nop, buf, sizeof buf))
RUN(blocking, gmp_blocking(nop, NULL))
RUN(blocking_until, gmp_blocking_until(nop, NULL, soon()))
RUN(main, gmp_run_main(0, NULL, nop_main))
RUN(join, join_it(FOREVER))
RUN(join_until, join_it(soon()))
RUN(cancel, gmp_cancel(other))
RUN(set_name, gmp_set_name("some name"))
RUN(park, gmp_park(keep_handle, NULL, "test"))
RUN(park_until, gmp_park_until(NULL, NULL, NULL, soon()))
RUN(defer, gmp_defer(nop, NULL))
RUN(send, gmp_chan_send(full, &one))
RUN(send_until, gmp_chan_send_until(full, &one, soon()))
RUN(try_send, gmp_chan_try_send(empty, &one))
RUN(recv, gmp_chan_recv(empty, buf))
RUN(recv_until, gmp_chan_recv_until(empty, buf, soon()))
RUN(try_recv, gmp_chan_try_recv(full, buf))
RUN(select, select_many(FOREVER))
RUN(select_until, select_many(soon()))
RUN(lock, gmp_mutex_lock(&held))
RUN(lock_until, gmp_mutex_lock_until(&held, soon()))
RUN(trylock, gmp_mutex_trylock(&held))
RUN(rw_lock, gmp_rwmutex_lock(&rw))
RUN(rw_lock_until, gmp_rwmutex_lock_until(&rw, soon()))
RUN(rw_trylock, gmp_rwmutex_trylock(&rw))
RUN(rlock, gmp_rwmutex_rlock(&rw))
RUN(rlock_until, gmp_rwmutex_rlock_until(&rw, soon()))
RUN(tryrlock, gmp_rwmutex_tryrlock(&rw))
RUN(runlock, gmp_rwmutex_runlock(&rw))
RUN(cond, gmp_cond_wait(&cond, &mutex))
RUN(cond_until, gmp_cond_wait_until(&cond, &mutex, soon()))
RUN(acquire, gmp_sema_acquire(&sema))
RUN(acquire_until, gmp_sema_acquire_until(&sema, soon()))
RUN(try_acquire, gmp_sema_try_acquire(&sema))
RUN(barrier, gmp_barrier_wait(&barrier))
RUN(barrier_until, gmp_barrier_wait_until(&barrier, soon()))
RUN(wait, gmp_waitgroup_wait(&wg))
RUN(wait_until, gmp_waitgroup_wait_until(&wg, soon()))
RUN(once, gmp_once_do(&once, nop, NULL))
RUN(once_until, gmp_once_do_until(&once, nop, NULL, soon()))
RUN(group_wait_op, wait_group(FOREVER))
RUN(group_wait_until, wait_group(FOREVER - 1))
RUN(sleep, gmp_sleep(US(100)))
RUN(sleep_until, gmp_sleep_until(soon()))
RUN(timer_after, run_after(gmp_after(US(50))))
RUN(timer_tick, run_after(gmp_tick(US(50))))
RUN(wait_fd, gmp_wait_fd(in[0], GMP_READABLE, soon()))
RUN(read, gmp_read(in[0], buf, 1))
RUN(read_until, gmp_read_until(in[0], buf, 1, soon()))
RUN(write, gmp_write(out[1], buf, 1))
RUN(write_until, gmp_write_until(out[1], buf, 1, soon()))
RUN(read_full, gmp_read_full(in[0], buf, 1))
RUN(read_full_until, gmp_read_full_until(in[0], buf, 1, &done, soon()))
RUN(write_all, gmp_write_all(out[1], buf, 1))
RUN(write_all_until, gmp_write_all_until(out[1], buf, 1, &done, soon()))
RUN(readv, gmp_readv(in[0], &iov, 1))
RUN(readv_until, gmp_readv_until(in[0], &iov, 1, soon()))
RUN(writev, gmp_writev(out[1], &iov, 1))
RUN(writev_until, gmp_writev_until(out[1], &iov, 1, soon()))
RUN(recvmsg, gmp_recvmsg(sock[0], message(), 0))
RUN(recvmsg_until, gmp_recvmsg_until(sock[0], message(), 0, soon()))
RUN(sendmsg, gmp_sendmsg(sock[0], message(), 0))
RUN(sendmsg_until, gmp_sendmsg_until(sock[0], message(), 0, soon()))
RUN(recvfrom, gmp_recvfrom(sock[0], buf, 1, 0, NULL, NULL))
RUN(recvfrom_until, gmp_recvfrom_until(sock[0], buf, 1, 0, NULL, NULL, soon()))
RUN(sendto, gmp_sendto(sock[0], buf, 1, 0, NULL, 0))
RUN(sendto_until, gmp_sendto_until(sock[0], buf, 1, 0, NULL, 0, soon()))
RUN(accept, accept_it(FOREVER))
RUN(accept_until, accept_it(gmp_after_ns(SEC(10))))
RUN(connect, connect_it(FOREVER))
RUN(connect_until, connect_it(gmp_after_ns(SEC(10))))
RUN(listen, close_it(gmp_listen("tcp", "127.0.0.1:0")))
RUN(dial, close_it(gmp_dial("tcp", here("127.0.0.1"))))
RUN(dial_until, close_it(gmp_dial_until("tcp", here(""), FOREVER - 1)))
RUN(getaddrinfo, look_up(FOREVER))
RUN(getaddrinfo_until, look_up(gmp_after_ns(SEC(10))))
RUN(open, close_it(gmp_open("/dev/null", O_RDONLY, 0)))
RUN(open_until, close_it(gmp_open_until("/dev/null", O_RDONLY, 0, FOREVER)))
RUN(fsync, gmp_fsync(file))
RUN(fsync_until, gmp_fsync_until(file, FOREVER - 1))
RUN(pread, gmp_pread(file, buf, 1, 0))
RUN(pread_until, gmp_pread_until(file, buf, 1, 0, FOREVER - 1))
RUN(pwrite, gmp_pwrite(file, buf, 1, 0))
RUN(pwrite_until, gmp_pwrite_until(file, buf, 1, 0, FOREVER - 1))
RUN(sendfile, gmp_sendfile(sock[0], file, NULL, 0))
RUN(sendfile_until, gmp_sendfile_until(sock[0], file, NULL, 0, soon()))
RUN(splice, gmp_splice(in[0], NULL, out[1], NULL, 1, 0))
RUN(splice_until, gmp_splice_until(in[0], NULL, out[1], NULL, 1, 0, soon()))
RUN(waitpid, child(FOREVER))
RUN(waitpid_until, child(gmp_after_ns(SEC(10))))
static gmp_stats stats;
RUN(stats, gmp_get_stats(&stats, sizeof stats))
RUN(num_cpu, gmp_num_cpu())
RUN(wait_init, gmp_wait_init())
RUN(cxa, gmp_register_cxa(no_cxa))

static long run_gc_objects(void)
{
    void **kept = gmp_gc_alloc_root(32), **node, *bytes;
    long r;

    if (kept == NULL)
        return -ENOMEM;
    node = kept[0] = gmp_gc_alloc(64);
    bytes = kept[1] = gmp_gc_alloc_noscan(1 << 20);
    r = made_or_not(kept[2] = gmp_gc_calloc(100, 100));
    if (node == NULL || bytes == NULL || gmp_gc_realloc(node, 9000) == NULL)
        r = -ENOMEM;
    if (bytes) {
        CHECK(gmp_gc_base((char *)bytes + 5) == bytes);
        CHECK(gmp_gc_size(bytes) >= 1 << 20);
        CHECK_OK(gmp_gc_free(bytes));
    }
    CHECK_OK(gmp_gc_free(kept));
    return r;
}

static long run_kept(void)
{
    void *p = gmp_kept_malloc(100);

    gmp_kept_free(p);
    return p != NULL ? 0 : -ENOMEM;
}

static long run_gc_roots(void)
{
    static void *words[8];
    long r = gmp_gc_add_roots(words, words + 8);

    CHECK_OK(gmp_gc_remove_roots(words, words + 8));
    CHECK_OK(gmp_gc_set_roots(GMP_GC_ROOTS_ALL));
    return r;
}

static long run_gc_settings(void)
{
    gmp_gc_stats numbers;
    long r = gmp_gc_set_percent(100);

    if (r < -1 || (r = gmp_gc_set_limit(INT64_MAX)) < 0)
        return r;
    return gmp_gc_get_stats(&numbers, sizeof numbers);
}

static atomic_int cleaned;

static void cleans(void *arg)
{
    (void)arg;
    atomic_fetch_add(&cleaned, 1);
}

static long run_gc_end(void)
{
    long *object = gmp_gc_alloc(16), r = made_or_not(object);
    int before = atomic_load(&cleaned);
    gmp_weak *weak;

    if (r < 0)
        return r;
    if ((r = gmp_gc_cleanup(object, cleans, NULL)) < 0) {
        CHECK_OK(gmp_gc_free(object));
        return r;
    }
    if ((weak = gmp_gc_weak(object)) == NULL ||
        gmp_gc_chan_make(8, 3) == NULL)
        r = -ENOMEM;
    CHECK(gmp_gc_weak_get(weak) == (weak ? object : NULL));
    CHECK_OK(gmp_gc_free(object));
    /* What is known of its end is freed by then. */
    while (atomic_load(&cleaned) == before)
        block_ns(US(50));
    return r;
}
RUN(gc, gmp_gc())
RUN(gc_attach, gmp_gc_attach())

static void push(void *lo, void *hi, void *arg)
{
    *(size_t *)arg += (size_t)((char *)hi - (char *)lo);
}

/* On a goroutine -EPERM, before anything else. */
static long run_gc_stop(void)
{
    size_t bytes = 0;
    long r = gmp_gc_stop(), found, started;

    if (r != 0)
        return r;
    found = gmp_gc_each_stack(push, &bytes);
    CHECK(found == 0 || found == -ENOMEM);
    started = gmp_gc_start();
    CHECK_OK(started);
    return found;
}

/* Where it would cancel the test's own goroutines it is left out: as the first
 * call of a process it is not. */
static long shuts_down(void)
{
    return gmp_num_goroutines() > 0 ? 0 : gmp_shutdown(soon());
}

/* Debug information takes hundreds of allocations. */
static long run_dump(void)
{
    static int null = -1;

    if (null < 0)
        null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return gmp_dump(null, GMP_DUMP_STACKS | GMP_DUMP_SYSTEM);
}

/* A trace to `path`, a save of it if it is in memory, and its end. */
static long traced(const char *path)
{
    static int null = -1;
    long rc = gmp_trace_start(path), saved = 0;

    if (null < 0)
        null = open("/dev/null", O_WRONLY);
    if (rc != 0)
        return rc;
    gmp_trace_mark("refused");
    if (path == NULL)
        saved = gmp_trace_save(null);
    rc = gmp_trace_stop();
    return saved ? saved : rc;
}
RUN(trace_file, traced("/dev/null"))
RUN(trace_flight, traced(NULL))

/* What a function is named in stands for it. */
static const struct op OPS[] = {
    {"gmp_rt_version gmp_strerror gmp_now gmp_after_ns gmp_self gmp_goid "
     "gmp_realtime_deadline "
     "gmp_num_goroutines gmp_cancelled gmp_errno_address gmp_args", tells, NULL},
    {"gmp_wait_init", run_wait_init, NULL},
    {"gmp_shutdown", shuts_down, NULL},
    {"gmp_dump", run_dump, NULL},
    {"gmp_gc_alloc gmp_gc_alloc_noscan gmp_gc_alloc_root gmp_gc_calloc "
     "gmp_gc_realloc gmp_gc_free gmp_gc_base gmp_gc_size", run_gc_objects,
     NULL},
    {"gmp_kept_malloc gmp_kept_free", run_kept, NULL},
    {"gmp_gc_add_roots gmp_gc_remove_roots gmp_gc_set_roots", run_gc_roots,
     NULL},
    {"gmp_gc_set_percent gmp_gc_set_limit gmp_gc_get_stats", run_gc_settings,
     NULL},
    {"gmp_gc_cleanup gmp_gc_weak gmp_gc_weak_get gmp_gc_chan_make", run_gc_end,
     NULL},
    {"gmp_gc", run_gc, NULL},
    {"gmp_gc_attach", run_gc_attach, NULL},
    {"gmp_gc_stop gmp_gc_each_stack gmp_gc_start", run_gc_stop, NULL},
    {"gmp_set_maxprocs", procs, NULL},
    {"gmp_num_cpu", run_num_cpu, NULL},
    {"gmp_get_stats", run_stats, NULL},
    {"gmp_trace_start gmp_trace_stop gmp_trace_mark", run_trace_file, NULL},
    {"gmp_trace_save", run_trace_flight, NULL},
    {"gmp_sigmask", mask, NULL},
    {"gmp_init_register gmp_init_unregister", task, NULL},
    {"gmp_run_main", run_main, NULL},
    {"gmp_register_cxa", run_cxa, NULL},
    {"gmp_blocking", run_blocking, NULL},
    {"gmp_blocking_until", run_blocking_until, NULL},
    {"gmp_go", run_go, NULL},
    {"gmp_go_copy", run_go_copy, NULL},
    {"gmp_go_with gmp_release", run_go_with, NULL},
    {"gmp_go_step gmp_step_wait gmp_step_result gmp_step_send gmp_step_recv "
     "gmp_step_sleep gmp_step_join gmp_step_yield", run_go_step, NULL},
    {"gmp_join", run_join, wake_hold},
    {"gmp_join_until", run_join_until, NULL},
    {"gmp_cancel", run_cancel, NULL},
    {"gmp_shield_enter gmp_shield_leave", shield, NULL},
    {"gmp_yield gmp_checkpoint", yields, NULL},
    {"gmp_exit", run_exit, NULL},
    {"gmp_set_name", run_set_name, NULL},
    {"gmp_get_name", run_get_name, NULL},
    {"gmp_park gmp_ready", run_park, wake_park},
    {"gmp_park_until", run_park_until, NULL},
    {"gmp_lock_os_thread gmp_unlock_os_thread", lock_thread, NULL},
    {"gmp_key_create gmp_key_delete gmp_setspecific gmp_getspecific",
     run_key, NULL},
    {"gmp_defer", run_defer, NULL},
    {"gmp_call gmp_panic gmp_panic_with gmp_recover", run_panics, NULL},
    {"gmp_chan_make gmp_chan_ref gmp_chan_unref gmp_chan_close gmp_chan_len "
     "gmp_chan_cap", run_chan, NULL},
    {"gmp_chan_make_with", run_chan_with, NULL},
    {"gmp_chan_send", run_send, wake_send},
    {"gmp_chan_send_until", run_send_until, NULL},
    {"gmp_chan_try_send", run_try_send, NULL},
    {"gmp_chan_recv", run_recv, wake_recv},
    {"gmp_chan_recv_until", run_recv_until, NULL},
    {"gmp_chan_try_recv", run_try_recv, NULL},
    {"gmp_select", run_select, wake_recv},
    {"gmp_select_until", run_select_until, NULL},
    {"gmp_try_select", run_try_select, NULL},
    {"gmp_mutex_lock gmp_mutex_unlock", run_lock, wake_lock},
    {"gmp_mutex_lock_until", run_lock_until, NULL},
    {"gmp_mutex_trylock", run_trylock, NULL},
    {"gmp_rwmutex_lock gmp_rwmutex_unlock", run_rw_lock, wake_rw},
    {"gmp_rwmutex_lock_until", run_rw_lock_until, NULL},
    {"gmp_rwmutex_trylock", run_rw_trylock, NULL},
    {"gmp_rwmutex_rlock", run_rlock, wake_rw},
    {"gmp_rwmutex_rlock_until", run_rlock_until, NULL},
    {"gmp_rwmutex_tryrlock", run_tryrlock, NULL},
    {"gmp_rwmutex_runlock", run_runlock, NULL},
    {"gmp_cond_wait gmp_cond_signal gmp_cond_broadcast", run_cond, wake_cond},
    {"gmp_cond_wait_until", run_cond_until, NULL},
    {"gmp_sema_acquire gmp_sema_release", run_acquire, wake_sema},
    {"gmp_sema_acquire_until", run_acquire_until, NULL},
    {"gmp_sema_try_acquire", run_try_acquire, NULL},
    {"gmp_sema_value", run_value, NULL},
    {"gmp_barrier_wait", run_barrier, wake_barrier},
    {"gmp_barrier_wait_until", run_barrier_until, NULL},
    {"gmp_waitgroup_wait gmp_waitgroup_add gmp_waitgroup_done", run_wait,
     wake_wg},
    {"gmp_waitgroup_wait_until", run_wait_until, NULL},
    {"gmp_once_do", run_once, NULL},
    {"gmp_once_do_until", run_once_until, NULL},
    {"gmp_group_make gmp_group_go gmp_group_cancel gmp_group_free",
     run_group, NULL},
    {"gmp_group_wait", run_group_wait_op, NULL},
    {"gmp_group_wait_until", run_group_wait_until, NULL},
    {"gmp_sleep", run_sleep, NULL},
    {"gmp_sleep_until", run_sleep_until, NULL},
    {"gmp_timer_start gmp_timer_reset gmp_timer_stop gmp_timer_free",
     run_timer, NULL},
    {"gmp_after", run_timer_after, NULL},
    {"gmp_tick", run_timer_tick, NULL},
    {"gmp_wait_fd", run_wait_fd, NULL},
    {"gmp_read", run_read, wake_read},
    {"gmp_read_until", run_read_until, NULL},
    {"gmp_write", run_write, NULL},
    {"gmp_write_until", run_write_until, NULL},
    {"gmp_read_full", run_read_full, wake_read},
    {"gmp_read_full_until", run_read_full_until, NULL},
    {"gmp_write_all", run_write_all, NULL},
    {"gmp_write_all_until", run_write_all_until, NULL},
    {"gmp_readv", run_readv, wake_read},
    {"gmp_readv_until", run_readv_until, NULL},
    {"gmp_writev", run_writev, NULL},
    {"gmp_writev_until", run_writev_until, NULL},
    {"gmp_recvmsg", run_recvmsg, wake_sock},
    {"gmp_recvmsg_until", run_recvmsg_until, NULL},
    {"gmp_sendmsg", run_sendmsg, NULL},
    {"gmp_sendmsg_until", run_sendmsg_until, NULL},
    {"gmp_recvfrom", run_recvfrom, wake_sock},
    {"gmp_recvfrom_until", run_recvfrom_until, NULL},
    {"gmp_sendto", run_sendto, NULL},
    {"gmp_sendto_until", run_sendto_until, NULL},
    {"gmp_accept", run_accept, wake_accept},
    {"gmp_accept_until", run_accept_until, wake_accept},
    {"gmp_connect", run_connect, NULL},
    {"gmp_connect_until", run_connect_until, NULL},
    {"gmp_listen gmp_close", run_listen, NULL},
    {"gmp_dial", run_dial, NULL},
    {"gmp_dial_until", run_dial_until, NULL},
    {"gmp_getaddrinfo", run_getaddrinfo, NULL},
    {"gmp_getaddrinfo_until", run_getaddrinfo_until, NULL},
    {"gmp_open", run_open, NULL},
    {"gmp_open_until", run_open_until, NULL},
    {"gmp_fsync", run_fsync, NULL},
    {"gmp_fsync_until", run_fsync_until, NULL},
    {"gmp_pread", run_pread, NULL},
    {"gmp_pread_until", run_pread_until, NULL},
    {"gmp_pwrite", run_pwrite, NULL},
    {"gmp_pwrite_until", run_pwrite_until, NULL},
    {"gmp_sendfile", run_sendfile, NULL},
    {"gmp_sendfile_until", run_sendfile_until, NULL},
    {"gmp_splice", run_splice, wake_read},
    {"gmp_splice_until", run_splice_until, NULL},
    {"gmp_waitpid", run_waitpid, NULL},
    {"gmp_waitpid_until", run_waitpid_until, NULL},
    {"gmp_signal_notify gmp_signal_stop", notify, NULL},
};

enum { N_OPS = sizeof OPS / sizeof *OPS };

/* --- One call --- */

static const struct op *op;
static long fail_n;
static bool fail_rest;
/* What it said, and whether memory was refused. */
static long said;
static bool was_refused;

static void wait_a_little(void)
{
    if (on_goroutine)
        CHECK_OK(gmp_sleep(US(50)));
    else
        usleep(50);
}

/* What nobody has accepted. */
static void drain_listener(void)
{
    int fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0)
        CHECK_OK(close(fd));
}

static void attempt(void *arg)
{
    long seen;

    set_up();
    atomic_store(&wake, op->wake);
    arm(fail_n, fail_rest);
    said = op->run();
    was_refused = disarm();
    atomic_store(&wake, NULL);
    for (seen = rounds; rounds < seen + 2;)
        wait_a_little();
    drain_listener();
    tear_down();
}

static void *attempt_on_thread(void *arg)
{
    attempt(arg);
    return NULL;
}

static void attempt_on_new_thread(void *arg)
{
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, attempt_on_thread, arg));
    CHECK_OK(pthread_join(thread, NULL));
}

/* --- All calls, in one place --- */

struct place {
    const char *name;
    void (*attempt)(void *arg);
    bool on_goroutine;
};

static const struct place PLACES[] = {
    {"goroutine", attempt, true},
    {"host thread", attempt, false},
    {"new host thread", attempt_on_new_thread, false},
};

static void try_op(const struct place *place, long n, bool rest)
{
    fail_n = n;
    fail_rest = rest;
    place->attempt(NULL);
}

/* Without a failure; what it says. */
static long plain(const struct place *place)
{
    try_op(place, 1L << 40, false);
    return said < 0 ? said : 0;
}

static long try_all_n(const struct place *place, bool rest, long usual)
{
    long n = 1;
    bool many = op->run == run_dump;

    for (;; n += many ? 1 + n / 2 : 1) {
        try_op(place, n, rest);
        if (said != usual && !(said >= 0 && usual == 0) &&
            !(was_refused && said == -ENOMEM)) {
            fprintf(stderr, "%s on a %s, allocation %ld%s refused: %ld (%s), "
                    "usually %ld\n", op->name, place->name, n,
                    rest ? " and all after it" : "", said,
                    gmp_strerror((int)said), usual);
            _exit(1);
        }
        if (!was_refused)
            return n;
        CHECK(n < 1000 || (many && n < 1000000));
    }
}

static void try_op_everywhere_in(const struct place *place)
{
    long usual = plain(place), before, tries;

    CHECK(usual != -ENOMEM);
    CHECK_EQ(plain(place), usual);
    before = live;
    tries = try_all_n(place, false, usual);
    tries += try_all_n(place, true, usual);
    CHECK_EQ(plain(place), usual);
    /* What a failure leaves behind would be there once for each; what stays
     * for good comes once. A former handler of a signal is kept each time. */
    if (op->run != notify && live - before > 6 + tries / 2) {
        fprintf(stderr, "%s on a %s: %ld blocks more after %ld tries\n",
                op->name, place->name, live - before, tries);
        _exit(1);
    }
}

static void all_ops(void *arg)
{
    const struct place *place = arg;

    on_goroutine = place->on_goroutine;
    for (int i = 0; i < N_OPS; i++) {
        op = &OPS[i];
        try_op_everywhere_in(place);
    }
}

/* --- The first call of a process --- */

static const struct op *const COLD_OPS_END = OPS + N_OPS;

/* 0: as usual; 3: memory was refused, and the call said so or worked. */
static int cold_child(const char *name, long n, bool rest)
{
    CHECK_OK(gmp_wait_init());
    CHECK_OK(pipe(in));
    ints = made_chan(4);
    for (op = OPS; op < COLD_OPS_END; op++)
        if (strcmp(op->name, name) == 0)
            break;
    CHECK(op < COLD_OPS_END);
    arm(n, rest);
    said = op->run();
    was_refused = disarm();
    CHECK(said >= 0 || said == -ETIMEDOUT || (was_refused && said == -ENOMEM));
    said = op->run();
    CHECK(said >= 0 || said == -ETIMEDOUT);
    return was_refused ? 3 : 0;
}

static int in_child(char *program, const char *name, long n, bool rest)
{
    char number[24];
    int status;
    pid_t pid;

    snprintf(number, sizeof number, "%ld", n);
    pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", program, name, number, rest ? "rest" : "one",
              (char *)NULL);
        _exit(99);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) ||
        (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3)) {
        fprintf(stderr, "%s first, allocation %ld%s refused: status %x\n",
                name, n, rest ? " and all after it" : "", status);
        _exit(1);
    }
    return WEXITSTATUS(status);
}

static void first_calls(char *program)
{
    static const char *const NAMES[] = {
        "gmp_sleep", "gmp_go", "gmp_num_cpu", "gmp_set_maxprocs",
        "gmp_read_until", "gmp_run_main", "gmp_blocking", "gmp_getaddrinfo",
        "gmp_listen gmp_close", "gmp_signal_notify gmp_signal_stop",
        "gmp_timer_start gmp_timer_reset gmp_timer_stop gmp_timer_free",
        "gmp_shutdown",
    };

    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        for (int rest = 0; rest < 2; rest++)
            for (long n = 1; in_child(program, NAMES[i], n, rest) == 3; n++)
                CHECK(n < 100);
}

/* Descriptors that are open, without those by which the watcher looks at
 * threads. */
static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    char target[64];
    int n = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, 6);

        n += len == 6 && memcmp(target, "/proc/", 6) != 0;
    }
    closedir(dir);
    return n;
}

int test_main(int argc, char **argv)
{
    long goroutines;
    int fds;

    if (argc == 4)
        return cold_child(argv[1], atol(argv[2]), strcmp(argv[3], "rest") == 0);
    first_calls(argv[0]);
    gmp_join(spawn(exits, NULL)); /* the unwinder's loading needs memory */
    listener = bind_loopback(SOCK_STREAM | SOCK_NONBLOCK, &address);
    CHECK_OK(listen(listener, 4096));
    CHECK((file = mkstemp(file_name)) >= 0);
    CHECK_OK(unlink(file_name));
    CHECK_EQ(write(file, "x", 1), 1);
    goroutines = gmp_num_goroutines();
    gmp_g *w = spawn(waker, NULL);
    gmp_join(spawn(all_ops, (void *)&PLACES[0]));
    fds = count_fds();
    all_ops((void *)&PLACES[1]);
    all_ops((void *)&PLACES[2]);
    CHECK_EQ(count_fds(), fds);
    over = true;
    CHECK_OK(gmp_join(w));
    AWAIT(gmp_num_goroutines() == goroutines);
    return 0;
}
