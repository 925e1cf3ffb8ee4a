/* What the collected heap takes from its process, and when: nothing before the
 * first call of it, an arena then, a handler for the signal once a collection
 * has to stop a thread, and threads that mark where there is much to mark. */
#include "test.h"

#include <semaphore.h>

enum { PROCS = 3, LARGE = 10, MB = 1 << 20 };

static void nothing(void *arg)
{
}

/* A number of kB or the like in /proc/self/status. */
static long status(const char *field)
{
    FILE *file = fopen("/proc/self/status", "r");
    size_t length = strlen(field);
    char line[256];
    long n = -1;

    CHECK(file != NULL);
    while (n < 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, length) == 0 && line[length] == ':')
            n = strtol(line + length + 1, NULL, 10);
    fclose(file);
    CHECK(n >= 0);
    return n;
}

static int handles_urgent(void)
{
    struct sigaction now;

    CHECK_OK(sigaction(SIGURG, NULL, &now));
    return now.sa_handler != SIG_DFL;
}

static sem_t attached, enough;
static long attached_id;

/* A thread of the host's, which a collection has to stop. */
static void *uses_the_heap(void *arg)
{
    attached_id = thread_id();
    CHECK_OK(gmp_gc_attach());
    CHECK_OK(sem_post(&attached));
    while (sem_wait(&enough) != 0)
        CHECK(errno == EINTR);
    return NULL;
}

int test_main(int argc, char **argv)
{
    static void *kept[LARGE];
    long size, resident, threads;
    pthread_t thread;
    gmp_g *g;

    CHECK_OK(sem_init(&attached, 0, 0));
    CHECK_OK(sem_init(&enough, 0, 0));
    CHECK(gmp_set_maxprocs(PROCS) > 0);
    CHECK_OK(gmp_go_with(NULL, nothing, NULL, &g));
    CHECK_OK(gmp_join(g));
    size = status("VmSize");
    resident = status("VmRSS");
    CHECK(!handles_urgent());

    /* Addresses, and no memory to speak of. */
    CHECK((kept[0] = gmp_gc_alloc(16)) != NULL);
    printf("%ld kB of addresses, %ld kB of memory\n", status("VmSize") - size,
           status("VmRSS") - resident);
    CHECK(status("VmSize") - size > 64 << 10);
    CHECK(status("VmSize") - size < 256 << 10);
    CHECK(status("VmRSS") - resident < 8 << 10);

    CHECK(!handles_urgent());
    CHECK_OK(pthread_create(&thread, NULL, uses_the_heap, NULL));
    while (sem_wait(&attached) != 0)
        CHECK(errno == EINTR);
    CHECK_OK(gmp_gc());
    CHECK(handles_urgent());

    /* A marker for each 16 MB, and no more than a P may have. The rest is the
     * main goroutine's thread, sysmon's, the host's two, and one for each P. */
    for (int i = 0; i < LARGE; i++)
        CHECK((kept[i] = gmp_gc_alloc(10 * MB)) != NULL);
    CHECK_OK(gmp_gc());
    threads = count_threads() - threads_of_tool();
    printf("%ld threads\n", threads);
    CHECK(threads <= 4 + PROCS + PROCS - 1);
    CHECK_OK(sem_post(&enough));
    CHECK_OK(pthread_join(thread, NULL));
    await_gone(attached_id);

    CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(10))));
    CHECK(!handles_urgent());
    CHECK(count_threads() == 1 + threads_of_tool());
    return 0;
}
