/* What the operations of this folder share. bench/README.md says what each
 * of them measures; every other system's program measures the same. */
#ifndef BENCH_H
#define BENCH_H

#include <gmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What the command line says, or else the table of operations. */
struct options {
    long n; /* rounds */
    long g; /* goroutines */
};
extern struct options opt;

/* Prints a line of the result. */
void report(const char *metric, double value);

/* Ends the program unless `ok`: what was measured is not what was meant. */
void check(bool ok, const char *what);

/* gmp_go that does not fail. */
void go(gmp_fn fn, void *arg);

/* Reports how many ns a round takes: pass(n) does n of them. It is called with
 * a tenth of opt.n to warm up, and then with opt.n until enough time is over. */
void measure(void (*pass)(long n));

/* A value of /proc/self/status, such as "VmRSS" in KiB. */
long proc_status(const char *key);

/* The operations: in yield.c, spawn.c, chan.c, mutex.c, many.c, system.c. */
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
void skynet(void);
void parked_million(void);
void sleepers(void);
void stall_sleep(void);
void stall_burn(void);
void idle(void);
void echo_server(void);

#endif
