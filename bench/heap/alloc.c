/* Allocation, with all that belongs to it: so many objects live at a time, and
 * are dropped in the order in which they came. */
#include "heap.h"

enum { LIVE = 256 };

static void *ring[LIVE];

/* CPU ns of an object; pass(n) makes n. */
static void measure_cpu(void (*pass)(long n))
{
    pass(opt.n / 10);
    long made = 0;
    int64_t start = cpu_ns(), took;
    do {
        pass(opt.n);
        made += opt.n;
        took = cpu_ns() - start;
    } while (took < ENOUGH);
    report("cpu_ns", (double)took / (double)made);
}

static void scan(long n)
{
    size_t size = (size_t)opt.g;
    for (long i = 0; i < n; i++) {
        long *p = heap_alloc(size);
        *p = i;
        drop(ring[i % LIVE]);
        ring[i % LIVE] = p;
    }
}

static void noscan(long n)
{
    size_t size = (size_t)opt.g;
    for (long i = 0; i < n; i++) {
        long *p = heap_noscan(size);
        *p = i;
        drop(ring[i % LIVE]);
        ring[i % LIVE] = p;
    }
}

static void released(long n)
{
    size_t size = (size_t)opt.g;
    for (long i = 0; i < n; i++) {
        long *p = heap_noscan(size);
        *p = i;
        release(ring[i % LIVE]);
        ring[i % LIVE] = p;
    }
}

void alloc_scan(void)
{
    measure_cpu(scan);
}

void alloc_noscan(void)
{
    measure_cpu(noscan);
}

void alloc_released(void)
{
    measure_cpu(released);
}
