/* The operations of chan.c. */
#ifndef CHAN_H
#define CHAN_H

void pingpong(void);
void buffered(void);
void select_ready(void);
void select_park(void);

#endif
