/* A goroutine that ends its thread, or has it ended: its argument is "exit" or
 * "cancel". */
#include "../test.h"

static void leave(void *arg)
{
    CHECK_OK(gmp_set_name("leaver"));
    if (strcmp(arg, "cancel") == 0) {
        pthread_cancel(pthread_self());
        pthread_testcancel();
    }
    pthread_exit(NULL);
}

int test_main(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    gmp_join(spawn(leave, argv[1]));
    return 0;
}
