/* What the operations share: checks, and goroutines with a handle. */
#ifndef OPS_H
#define OPS_H

#include <gmp.h>
#include <stdbool.h>

/* Ends the process with status 1 unless cond holds. */
#define CHECK(cond) \
    ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

_Noreturn void check_failed(const char *file, int line, const char *what);

/* Starts a goroutine that is to be joined. */
static inline gmp_g *spawn(gmp_fn fn, void *arg)
{
    gmp_g *g;

    CHECK(gmp_go_with(NULL, fn, arg, &g) == 0);
    return g;
}

/* Operations; a round is what bench/callgrind.py counts the price of. */

/* Scheduling (sched.c): a yield; a goroutine, in waves of 1000 or all before
 * the first runs; one spawned and joined. */
void yield2(long rounds);
void yield1000(long rounds);
void spawn_waves(long rounds);
void spawn_all(long rounds);
void spawn_join(long rounds);

/* Channels (chan.c): a round trip, without and with deadlines; a send and its
 * receive, by one goroutine and by two; a select and the send after it; an
 * element of a select that parks. */
void pingpong(long rounds);
void pingpong_until(long rounds);
void buffered(long rounds);
void buffered_1_1(long rounds);
void select2_ready(long rounds);
void select4_ready(long rounds);
void select2_park(long rounds);

/* Waiting (wait.c): a lock and unlock, by one and by eight that yield inside;
 * a timer started and freed; a sleep, one of two thousand at a time; a request
 * of 64 bytes read and answered, on one connection and on 64. */
void mutex(long rounds);
void mutex8_yield(long rounds);
void timer(long rounds);
void sleeps(long rounds);
void echo1(long rounds);
void echo64(long rounds);

/* Calls (panic.c): one that defers nothing, one function, ten; a panic that is
 * recovered. */
void call(long rounds);
void defer(long rounds);
void defer10(long rounds);
void panic_recover(long rounds);

/* The collected heap (heap.c): an object of 64 bytes that may hold pointers, and
 * is zeroed; one that does not; the same, freed by hand. */
void alloc64(long rounds);
void noscan64(long rounds);
void released64(long rounds);

#endif
