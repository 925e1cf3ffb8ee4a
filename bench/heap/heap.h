/* The heaps that are measured, one a program: -DHEAP_GMPRT, -DHEAP_BDWGC, or
 * malloc and free, by whatever library has them. bench/README.md says what the
 * operations are. */
#ifndef HEAP_H
#define HEAP_H

#ifdef HEAP_BDWGC
#define GC_THREADS
#include <gc/gc.h>
#endif

#include "../peer.h"

#include <gmp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static inline void *must(void *p)
{
    if (p == NULL)
        errx(1, "out of memory");
    return p;
}

/* heap_alloc: memory that may hold pointers, all zero. heap_noscan: memory that
 * never does, and holds anything. drop: where the program frees, it does so
 * here, and a collector is told nothing. release: the same, told. */

#if defined HEAP_GMPRT

enum { COLLECTS = 1 };

static inline void *heap_alloc(size_t size)
{
    return must(gmp_gc_alloc(size));
}
static inline void *heap_noscan(size_t size)
{
    return must(gmp_gc_alloc_noscan(size));
}
static inline void drop(void *p)
{
    (void)p;
}
static inline void release(void *p)
{
    gmp_gc_free(p);
}
static inline void collect(void)
{
    check(gmp_gc() == 0, "gmp_gc");
}
static inline void collect_by_itself(bool on)
{
    gmp_gc_set_percent(on ? 100 : -1);
}

#elif defined HEAP_BDWGC

enum { COLLECTS = 1 };

static inline void *heap_alloc(size_t size)
{
    return must(GC_malloc(size));
}
static inline void *heap_noscan(size_t size)
{
    return must(GC_malloc_atomic(size));
}
static inline void drop(void *p)
{
    (void)p;
}
static inline void release(void *p)
{
    GC_free(p);
}
static inline void collect(void)
{
    GC_gcollect();
}
static inline void collect_by_itself(bool on)
{
    if (on)
        GC_enable();
    else
        GC_disable();
}

#else

enum { COLLECTS = 0 };

static inline void *heap_alloc(size_t size)
{
    return must(calloc(1, size));
}
static inline void *heap_noscan(size_t size)
{
    return must(malloc(size));
}
static inline void drop(void *p)
{
    free(p);
}
static inline void release(void *p)
{
    free(p);
}
static inline void collect(void)
{
}
static inline void collect_by_itself(bool on)
{
    (void)on;
}

#endif

/* How long the program has stood still for collections. */
struct pauses {
    double total_ms, longest_ms;
    long n;
};
struct pauses pauses_so_far(void);

/* Calls fn with 0 to n - 1, at the same time, and waits for all: on goroutines
 * for gmprt, else on threads. */
void in_parallel(int n, void (*fn)(long i));
/* The same on goroutines. bdwgc has none. */
void on_goroutines(int n, void (*fn)(long i));

/* CPU time of the process, in ns. */
static inline int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* The operations: in alloc.c, trees.c, mark.c, message.c, memory.c. */
void alloc_scan(void);
void alloc_noscan(void);
void alloc_released(void);
void trees(void);
void gcbench(void);
void mark_nodes(void);
void mark_random(void);
void mark_records(void);
void message_ring(void);
void message_chan(void);
void rounds(void);
void burst(void);
void parked(void);

#endif
