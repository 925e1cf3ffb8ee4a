/* A fork of a plain program: as it is, and with as much memory mapped and
 * touched as the stacks of goroutines need. The kernel copies its page tables.
 */
#include "raw.h"

#include "../forks.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>

enum { STACKS = 1000, SLOT = 256 << 10 };

void fork_parked(long n)
{
    double bare = fork_us(n, only_exit);
    char *stacks = mmap(NULL, (size_t)STACKS * SLOT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED)
        err(1, "mmap");
    madvise(stacks, (size_t)STACKS * SLOT, MADV_NOHUGEPAGE);
    for (size_t i = 1; i <= STACKS; i++)
        stacks[i * SLOT - 1] = 1;
    printf("us\t%.1f\n", fork_us(n, only_exit));
    printf("bare_us\t%.1f\n", bare);
}
