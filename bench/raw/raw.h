/* The operations: in switch.c and echo_server.c. */
#ifndef RAW_H
#define RAW_H

void yield2(long n);
void pingpong(long n);
void echo_server(long n);

#endif
