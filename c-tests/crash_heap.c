/* Dies inside malloc, with the lock that malloc holds: what reports the death
 * must not allocate in this process. Usage: crash_heap CASE. */
#include "test.h"

void *__libc_malloc(size_t size);

static pthread_mutex_t heap = PTHREAD_MUTEX_INITIALIZER;
static atomic_int deadly;
static char *volatile nowhere;

__attribute__((noinline)) static void write_null(void)
{
    /* dies here: write_null */
    *nowhere = 1;
}

/* Stands in for the C library's, also for what the library calls. */
void *malloc(size_t size)
{
    void *block;

    pthread_mutex_lock(&heap);
    if (atomic_load(&deadly) && size == 12345)
        write_null();
    block = __libc_malloc(size);
    pthread_mutex_unlock(&heap);
    return block;
}

static void mortal(void *arg)
{
    void *volatile block;

    (void)arg;
    atomic_store(&deadly, 1);
    block = malloc(12345);
    free(block);
}

/* The list of free blocks and the end of the heap are overwritten. */
static void corrupt(void *arg)
{
    char *block = __libc_malloc(3000);

    (void)arg;
    memset(block - 64, 0xff, 64 + 3000 + 4096);
    write_null();
}

int test_main(int argc, char **argv)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    attr.name = "mortal";
    if (argc > 1 && strcmp(argv[1], "corrupt") == 0)
        CHECK_OK(gmp_go_with(&attr, corrupt, NULL, &g));
    else
        CHECK_OK(gmp_go_with(&attr, mortal, NULL, &g));
    CHECK_OK(gmp_join(g));
    return 0;
}
