/* A goroutine that throws, in a host that has a terminate handler, while
 * another one waits. */
#include "../test.h"

#include <exception>
#include <stdexcept>

static void terminate()
{
    fputs("the handler ran\n", stderr);
    _exit(3);
}

static void wait_here(void *)
{
    gmp_set_name("waiter");
    gmp_park(NULL, NULL, "for ever");
}

static void fail(void *)
{
    gmp_set_name("thrower");
    gmp_sleep(MS(20)); /* until the other one has parked */
    throw std::out_of_range("too far");
}

int test_main(int argc, char **argv)
{
    std::set_terminate(terminate);
    gmp_go(wait_here, NULL);
    gmp_join(spawn(fail, NULL));
    return 0;
}
