/* What the operations of this folder share. bench/README.md says what each
 * of them measures; every other system's program measures the same. */
#ifndef BENCH_H
#define BENCH_H

#include "../peer.h"

#include <gmp.h>
#include <stdatomic.h>

/* gmp_go that does not fail. */
void go(gmp_fn fn, void *arg);

/* The operations: in yield.c, spawn.c, chan.c, mutex.c, panic.c, many.c,
 * system.c, fork.c. */
void yield(void);
void spawn_waves(void);
void spawn_million(void);
void spawn_join(void);
void pingpong(void);
void buffered(void);
void select_ready(void);
void select_park(void);
void mutex(void);
void mutex_yield(void);
void defer(void);
void panic_recover(void);
void skynet(void);
void parked_million(void);
void sleepers(void);
void stall_sleep(void);
void stall_burn(void);
void idle(void);
void fork_parked(void);
void echo_server(void);

#endif
