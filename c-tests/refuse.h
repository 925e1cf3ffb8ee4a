/* Refuses memory on demand: mappings, and what else its includer asks about. */
#ifndef REFUSE_H
#define REFUSE_H
#include "test.h"

#include <sys/mman.h>

/* While armed, request number fail_at is refused, and with all_after each one
 * after it. */
static atomic_bool armed, refused, all_after;
static atomic_long requests, fail_at;

static bool refuse(void)
{
    long n;

    if (!atomic_load(&armed))
        return false;
    n = atomic_fetch_add(&requests, 1) + 1;
    if (n < fail_at || (n > fail_at && !all_after))
        return false;
    atomic_store(&refused, true);
    errno = ENOMEM;
    return true;
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    if (refuse())
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, offset);
}

void *mmap64(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    return mmap(at, n, prot, flags, fd, offset);
}

static void arm(long n, bool rest)
{
    fail_at = n;
    all_after = rest;
    requests = 0;
    refused = false;
    atomic_store(&armed, true);
}

/* Disarms; true if anything was refused. */
static bool disarm(void)
{
    atomic_store(&armed, false);
    return atomic_load(&refused);
}

#endif
