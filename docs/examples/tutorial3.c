/* The same, with a limit of connections and an orderly end. */
#include <gmp.h>
#include <signal.h>
#include <stdio.h>

#define PATIENCE 2000000000 /* ns */
#define LIMIT 100

static gmp_sema room = GMP_SEMA_INIT(LIMIT);
static gmp_group *all;

static int echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[4096];
    ssize_t n;

    while ((n = gmp_read_until(fd, buf, sizeof buf,
                               gmp_after_ns(PATIENCE))) > 0)
        if (gmp_write_all_until(fd, buf, (size_t)n, NULL,
                                gmp_after_ns(PATIENCE)) != 0)
            break;
    gmp_close(fd);
    gmp_sema_release(&room);
    return 0; /* a client's trouble is no error of the group */
}

/* Accepts until a cancel, and never more than there is room for. */
static int serve(void *arg)
{
    int listener = (int)(intptr_t)arg, fd;

    while (gmp_sema_acquire(&room) == 0) {
        fd = gmp_accept(listener, NULL, NULL);
        if (fd < 0)
            break;
        if (gmp_group_go(all, echo, (void *)(intptr_t)fd) != 0) {
            gmp_close(fd);
            gmp_sema_release(&room);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    gmp_chan *signals = gmp_chan_make(sizeof(int), 1);
    char address[32];
    int listener, signo;

    snprintf(address, sizeof address, ":%s", argc > 1 ? argv[1] : "7000");
    listener = gmp_listen("tcp", address);
    all = gmp_group_make();
    if (listener < 0 || all == NULL || signals == NULL ||
        gmp_signal_notify(signals, SIGTERM) != 0 ||
        gmp_group_go(all, serve, (void *)(intptr_t)listener) != 0) {
        fprintf(stderr, "%s: cannot serve\n", address);
        return 1;
    }
    gmp_chan_recv(signals, &signo);
    gmp_group_free(all); /* cancels them all, and waits for the last */
    gmp_close(listener);
    puts("served");
    return 0;
}
