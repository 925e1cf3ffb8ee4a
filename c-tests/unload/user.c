/* A plug-in that uses the whole library and can be unloaded. It is linked with
 * the shared library, or has the static one inside. */
#include "user.h"
#include <gmp.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 20 };

#define NEED(cond)           \
    do {                     \
        if (!(cond))         \
            return __LINE__; \
    } while (0)

static _Atomic int fired, begun;

static void at_start(void) { begun++; }
GMP_INIT(at_start)

static void sends(void *ch)
{
    static __thread int touched;

    touched++;
    gmp_defer((gmp_fn)gmp_checkpoint, NULL);
    gmp_set_name("sends");
    gmp_sleep(1000);
    for (int i = 0; i < 3; i++)
        gmp_chan_send(ch, &i);
}

static int channels(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 2);
    int value, sum = 0;

    NEED(ch);
    for (int i = 0; i < MANY; i++)
        NEED(gmp_go(sends, ch) == 0);
    for (int i = 0; i < MANY * 3; i++) {
        gmp_case c = {ch, &value, GMP_RECV, 0};

        NEED(i % 2 ? gmp_chan_recv(ch, &value) == 0 : gmp_select(&c, 1) == 0);
        sum += value;
    }
    NEED(sum == MANY * 3);
    gmp_chan_unref(ch);
    return 0;
}

static void fires(void *arg) { fired++; }

static int timers(void)
{
    gmp_timer *t, *never;
    gmp_chan *tick = gmp_tick(200000);
    int64_t when;

    fired = 0;
    t = gmp_timer_start(100000, 0, fires, NULL);
    never = gmp_timer_start(INT64_C(1) << 60, 0, fires, NULL);
    NEED(t && never && tick);
    NEED(gmp_chan_recv(tick, &when) == 0);
    while (!fired)
        gmp_sleep(100000);
    gmp_timer_free(t);
    gmp_timer_free(never);
    gmp_chan_unref(tick);
    return 0;
}

static void echoes(void *fd)
{
    char byte;

    while (gmp_read((int)(intptr_t)fd, &byte, 1) == 1)
        gmp_write((int)(intptr_t)fd, &byte, 1);
    gmp_close((int)(intptr_t)fd);
}

static int descriptors(void)
{
    int fds[2];
    char byte = 'x';

    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    NEED(gmp_go(echoes, (void *)(intptr_t)fds[1]) == 0);
    for (int i = 0; i < 10; i++) {
        NEED(gmp_write(fds[0], &byte, 1) == 1);
        NEED(gmp_read(fds[0], &byte, 1) == 1);
    }
    NEED(gmp_close(fds[0]) == 0);
    return 0;
}

static int member(void *arg) { return gmp_sleep(1000); }

static void *from_a_thread(void *ch)
{
    gmp_sleep(1000);
    return (void *)(intptr_t)gmp_chan_recv(ch, NULL);
}

static int threads_and_groups(void)
{
    gmp_group *gr = gmp_group_make();
    gmp_chan *ch = gmp_chan_make(0, 0);
    pthread_t threads[3];
    void *result;

    NEED(gr && ch);
    for (int i = 0; i < MANY; i++)
        NEED(gmp_group_go(gr, member, NULL) == 0);
    NEED(gmp_group_wait(gr) == 0);
    gmp_group_free(gr);
    for (int i = 0; i < 3; i++)
        NEED(pthread_create(&threads[i], NULL, from_a_thread, ch) == 0);
    for (int i = 0; i < 3; i++)
        NEED(gmp_chan_send(ch, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        NEED(pthread_join(threads[i], &result) == 0);
        NEED(result == NULL);
    }
    gmp_chan_unref(ch);
    return 0;
}

static void blocks(void *arg) { usleep(200); }

static int the_rest(void)
{
    int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    gmp_chan *signals = gmp_chan_make(sizeof(int), 1);
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;
    int signo;

    NEED(out >= 0 && signals);
    NEED(gmp_dump(out, GMP_DUMP_EACH | GMP_DUMP_STACKS) == 0);
    NEED(gmp_trace_start(NULL) == 0);
    NEED(gmp_blocking(blocks, NULL) == 0);
    attr.flags = GMP_LOCKED_THREAD;
    attr.stack_size = 16 << 20;
    attr.name = "locked";
    NEED(gmp_go_with(&attr, blocks, NULL, &g) == 0);
    NEED(gmp_join(g) == 0);
    NEED(gmp_trace_save(out) == 0);
    NEED(gmp_trace_stop() == 0);
    NEED(gmp_signal_notify(signals, SIGUSR2) == 0);
    NEED(raise(SIGUSR2) == 0);
    NEED(gmp_chan_recv(signals, &signo) == 0 && signo == SIGUSR2);
    gmp_chan_unref(signals);
    close(out);
    return 0;
}

static void forever(void *ch)
{
    gmp_chan_recv(ch, NULL);
    gmp_chan_unref(ch);
}

static int use(void)
{
    static int (*const parts[])(void) = {channels, timers, descriptors,
                                         threads_and_groups, the_rest};
    gmp_chan *ch;
    int line;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if ((line = parts[i]()) != 0)
            return line;
    NEED(begun == 1);
    /* These are left for the end. */
    for (int i = 0; i < MANY; i++) {
        ch = gmp_chan_make(0, 0);
        NEED(ch && gmp_go(forever, ch) == 0);
    }
    return 0;
}

static int end(void) { return gmp_shutdown(GMP_FOREVER); }

static int waits(void) { return gmp_chan_recv(NULL, NULL); }

static int at_unload;

static void end_at_unload(void) { at_unload = 1; }

__attribute__((destructor)) static void last(void)
{
    if (at_unload && gmp_shutdown(GMP_FOREVER) != 0)
        abort();
}

enum { OBJECTS = 100000 };
static struct object { struct object *next; long number; } *objects;
static gmp_chan *collected;

static int heap(void)
{
    void *weak;
    char *large;

    /* The data of what has the library inside is no root by itself. */
    NEED(gmp_gc_add_roots(&objects, &objects + 1) == 0);
    NEED(gmp_gc_add_roots(&collected, &collected + 1) == 0);
    objects = NULL;
    collected = gmp_gc_chan_make(sizeof(void *), 4);
    NEED(collected);
    for (long i = 0; i < OBJECTS; i++) {
        struct object *it = gmp_gc_alloc(i % 2 ? sizeof *it : 64);

        NEED(it);
        it->next = objects;
        it->number = i;
        objects = it;
    }
    NEED((large = gmp_gc_alloc_noscan(100 << 20)) != NULL);
    large[0] = 1;
    for (int i = 0; i < MANY; i++) {
        NEED(gmp_gc_cleanup(gmp_gc_alloc(16), blocks, NULL) == 0);
        NEED(gmp_gc_cleanup(objects, blocks, NULL) == 0);
    }
    NEED((weak = gmp_gc_weak(objects)) != NULL);
    NEED(gmp_gc() == 0);
    NEED(gmp_gc_weak_get(weak) == objects);
    NEED(gmp_chan_send(collected, &objects) == 0);
    return 0;
}

static int reads_at_exit;

static void read_at_exit(void) { reads_at_exit = 1; }

/* The library's own function has 101, so this one comes after it. */
static void very_last(void)
{
    static const char text[] = "read\n";
    long number = OBJECTS;

    if (!reads_at_exit)
        return;
    for (struct object *it = objects; it; it = it->next)
        if (it->number != --number)
            abort();
    if (number != 0 || gmp_gc_alloc(16) != NULL || gmp_gc_free(objects) == 0)
        abort();
    if (write(1, text, sizeof text - 1) < 0)
        abort();
}

__attribute__((used, section(".fini_array.00050")))
static void (*const call_very_last)(void) = very_last;

extern const struct user user;
const struct user user = {use,  end,         waits, end_at_unload,
                          heap, read_at_exit};
