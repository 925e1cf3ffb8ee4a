/* The part of these operations that is in C. */
#ifndef HOST_H
#define HOST_H

void host(long n); /* calls spawn_join n times on a thread of its own */
void sleep_in_c(void);
void burn_in_c(void);

#endif
