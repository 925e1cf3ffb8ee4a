/* The start and the end of the runtime, and what it knows of the process. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>

static int set_up_before;

static void set_up(void)
{
    set_up_before = 1;
}
GMP_INIT(set_up)

/* Stops early, with a reason, where the runtime cannot start. */
static void start_or_exit(void)
{
    int rc = gmp_wait_init();

    if (rc != 0) {
        fprintf(stderr, "gmprt: %s\n", gmp_strerror(rc));
        exit(1);
    }
    printf("gmprt %s\n", gmp_rt_version());
}

/* Leaves one CPU to the rest of the program. */
static void leave_one_cpu(void)
{
    int cpus = gmp_num_cpu();

    if (cpus > 1)
        gmp_set_maxprocs(cpus - 1);
    printf("%d goroutines run at once\n", gmp_set_maxprocs(0));
}

/* A plug-in finds the program's arguments. */
static void print_arguments(void)
{
    char **argv;
    int argc = gmp_args(&argv);

    for (int i = 0; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
}

/* The main goroutine: a deadlock of all goroutines is reported. */
static int real_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    printf("%lld goroutine\n", (long long)gmp_num_goroutines());
    return 0;
}

/* Gives everything back, as a plug-in does before it is unloaded. */
static int stop(void)
{
    int rc = gmp_shutdown(gmp_after_ns(5000000000)); /* 5 s */

    if (rc == -ETIMEDOUT)
        fprintf(stderr, "%lld goroutines do not end\n",
                (long long)gmp_num_goroutines());
    return rc;
}

int main(int argc, char **argv)
{
    start_or_exit();
    leave_one_cpu();
    print_arguments();
    if (!set_up_before || gmp_run_main(argc, argv, real_main) != 0)
        return 1;
    return stop() != 0;
}
