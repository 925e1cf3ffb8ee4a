/* A NULL channel blocks for ever. The goroutines that do so are left there:
 * the others go on, and the process ends as usual. */
#include "test.h"

static atomic_int entered, came_back;

static void send_to_nobody(void *arg)
{
    int value = 1;

    atomic_fetch_add(&entered, 1);
    gmp_chan_send(NULL, &value);
    atomic_fetch_add(&came_back, 1);
}

static void receive_from_nobody(void *arg)
{
    int value;

    atomic_fetch_add(&entered, 1);
    gmp_chan_recv(NULL, &value);
    atomic_fetch_add(&came_back, 1);
}

static void *block_a_thread(void *arg)
{
    send_to_nobody(arg);
    return NULL;
}

static void others_go_on(void *arg)
{
    for (int i = 0; i < 1000; i++)
        gmp_yield();
    CHECK_OK(gmp_sleep(MS(20)));
}

int test_main(int argc, char **argv)
{
    pthread_t thread;

    for (int i = 0; i < 10; i++) {
        CHECK_OK(gmp_go(send_to_nobody, NULL));
        CHECK_OK(gmp_go(receive_from_nobody, NULL));
    }
    CHECK_OK(pthread_create(&thread, NULL, block_a_thread, NULL));
    AWAIT(atomic_load(&entered) == 21);
    CHECK_OK(gmp_join(spawn(others_go_on, NULL)));
    CHECK_EQ(atomic_load(&came_back), 0);
    CHECK(gmp_num_goroutines() >= 20);
    CHECK_EQ(gmp_chan_try_send(NULL, NULL), -EAGAIN);
    CHECK_EQ(gmp_chan_try_recv(NULL, NULL), -EAGAIN);
    return 0;
}
