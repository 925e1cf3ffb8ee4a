/* What the first object of the collected heap costs, and a collection: the heap
 * has tables for all addresses of a process, of which it uses next to nothing.
 *
 * heap_begins charged  what the kernel counts as promised: private memory that
 *                      may be written
 * heap_begins locked   what is resident under mlockall(MCL_FUTURE), which
 *                      populates what is mapped
 * heap_begins limited  how many addresses there have to be (RLIMIT_AS) */
#include "test.h"

#include <sys/mman.h>

enum { KIB = 1, MIB = 1024 * KIB, OBJECTS = 1000 };

static long of_status(const char *key)
{
    return status_value("/proc/self/status", key);
}

/* Private memory that may be written. */
static long charged(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[512], rights[8];
    unsigned long from, to;
    long sum = 0;

    CHECK(file != NULL);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 &&
            rights[1] == 'w' && rights[3] == 'p')
            sum += (long)(to - from) / 1024;
    fclose(file);
    return sum;
}

static long resident(void)
{
    return of_status("VmRSS:");
}

static void nop(void *arg)
{
    (void)arg;
}

static char *objects[OBJECTS];

/* The heap works. */
static void use(void)
{
    for (int i = 0; i < OBJECTS; i++) {
        CHECK((objects[i] = gmp_gc_alloc(1000)) != NULL);
        objects[i][999] = (char)i;
    }
    CHECK_OK(gmp_gc());
    for (int i = 0; i < OBJECTS; i++)
        CHECK_EQ(objects[i][999], (char)i);
}

/* So many KiB more for the first object, and in all after a collection; false
 * if there is no object to be had. */
static bool check_cost(long (*measure)(void), long first, long all)
{
    const long before = measure();
    long then;

    if (gmp_gc_alloc(16) == NULL)
        return false;
    then = measure() - before;
    CHECK_OK(gmp_gc());
    printf("the first object: %ld KiB; a collection: %ld more\n", then,
           measure() - before - then);
    CHECK(then < first);
    CHECK(measure() - before < all);
    return true;
}

/* An arena is prepared 4 MiB at a time, and has 1 MiB beside it. */
static void test_charged(void)
{
    CHECK(check_cost(charged, 7 * MIB, 16 * MIB));
    use();
}

static void test_locked(void)
{
    struct rlimit limit;
    const bool locked = mlockall(MCL_FUTURE) == 0;

    if (locked && check_cost(resident, 2 * MIB, 8 * MIB)) {
        use();
        return;
    }
    /* The limit forbids it. Then the heap has not begun, and may later. */
    CHECK_OK(getrlimit(RLIMIT_MEMLOCK, &limit));
    CHECK(limit.rlim_cur != RLIM_INFINITY);
    CHECK_OK(munlockall());
    test_charged();
}

static void test_limited(void)
{
    struct rlimit limit;
    const long before = of_status("VmSize:");
    long more = 0;

    CHECK_OK(getrlimit(RLIMIT_AS, &limit));
    do {
        more += MIB;
        limit.rlim_cur = (rlim_t)(before + more) * 1024;
        CHECK_OK(setrlimit(RLIMIT_AS, &limit));
    } while (more < 400 * MIB && gmp_gc_alloc(16) == NULL);
    printf("the first object: %ld MiB of addresses\n", more / MIB);
    CHECK(more < 150 * MIB);
    CHECK(gmp_gc_alloc(16) != NULL);
    limit.rlim_cur = limit.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_AS, &limit));
    use();
}

int test_main(int argc, char **argv)
{
    gmp_g *g = spawn(nop, NULL);

    CHECK(argc == 2);
    CHECK_OK(gmp_join(g));
    if (strcmp(argv[1], "charged") == 0)
        test_charged();
    else if (strcmp(argv[1], "locked") == 0)
        test_locked();
    else
        test_limited();
    return 0;
}
