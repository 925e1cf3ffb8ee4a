/* The operations: in switch.c, echo_server.c and fork.c. */
#ifndef RAW_H
#define RAW_H

void yield2(long n);
void pingpong(long n);
void echo_server(long n);
void fork_parked(long n);

#endif
