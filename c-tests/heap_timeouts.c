/* A timeout of a call that waits in the kernel ends, however often collections
 * interrupt the call, and not too early. */
#include "test.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { WAITS = 7, LONG_MS = 60 };

static atomic_bool done;
static int epoll;

static void wait_by(int which)
{
    struct timespec some = {0, MS(LONG_MS)}, rest = {7, 7};
    struct timeval small = {0, LONG_MS * 1000};

    switch (which) {
    case 0:
        CHECK_OK(poll(NULL, 0, LONG_MS));
        return;
    case 1: {
        struct epoll_event event;

        CHECK_OK(epoll_wait(epoll, &event, 1, LONG_MS));
        return;
    }
    case 2:
        CHECK_OK(usleep(LONG_MS * 1000));
        return;
    case 3:
        CHECK_OK(nanosleep(&some, &rest));
        return;
    case 4:
        CHECK_OK(clock_nanosleep(CLOCK_MONOTONIC, 0, &some, NULL));
        return;
    case 5:
        CHECK_OK(select(0, NULL, NULL, NULL, &small));
        return;
    default:
        CHECK_OK(ppoll(NULL, 0, &some, NULL));
    }
}

static void *waits(void *unused)
{
    (void)unused;
    CHECK_OK(gmp_gc_attach());
    for (int i = 0; i < 2 * WAITS; i++) {
        int64_t began = gmp_now(), took;

        wait_by(i % WAITS);
        took = gmp_now() - began;
        CHECK(took >= MS(LONG_MS));
        CHECK(took < SEC(5));
    }
    atomic_store(&done, true);
    return NULL;
}

int test_main(int argc, char **argv)
{
    int64_t until = gmp_now() + SEC(12);
    pthread_t thread;

    (void)argc;
    (void)argv;
    CHECK((epoll = epoll_create1(0)) >= 0);
    CHECK(gmp_gc_alloc(1) != NULL);
    CHECK_OK(pthread_create(&thread, NULL, waits, NULL));
    while (!atomic_load(&done) && gmp_now() < until) {
        CHECK_OK(gmp_gc());
        CHECK_OK(gmp_sleep(MS(LONG_MS / 4)));
    }
    CHECK_OK(pthread_join(thread, NULL));
    return 0;
}
