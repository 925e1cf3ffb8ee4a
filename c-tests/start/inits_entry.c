/* A program entered at _rt0_amd64_linux with a function of GMP_INIT, which,
 * with LEAVE in the environment, ends the main goroutine. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static void go_on(void *arg)
{
    (void)arg;
    gmp_sleep(20 * 1000000);
    puts("the other went on");
    fflush(stdout);
}

static void look(void)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    printf("init on %d\n", (int)gmp_goid());
    fflush(stdout);
    if (getenv("LEAVE")) {
        gmp_go(go_on, NULL);
        gmp_exit();
    }
}
GMP_INIT(look)

int main(void)
{
    printf("main on %d\n", (int)gmp_goid());
    return 7;
}
