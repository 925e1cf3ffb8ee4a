/* A fork of a plain program: as it is, and with 1,000 stacks that have been
 * used. The kernel copies their page tables and the records of their mappings,
 * of which a guard page makes two a stack. */
#include "raw.h"

#include "../forks.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>

enum { STACKS = 1000, SIZE = 256 << 10, GUARD = 4096 };

static void map_stack(void)
{
    char *stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, GUARD, PROT_NONE) != 0)
        err(1, "a stack");
    stack[SIZE - 1] = 1;
}

void fork_parked(long n)
{
    double bare = fork_us(n, only_exit);
    for (int i = 0; i < STACKS; i++)
        map_stack();
    printf("us\t%.1f\n", fork_us(n, only_exit));
    printf("bare_us\t%.1f\n", bare);
}
