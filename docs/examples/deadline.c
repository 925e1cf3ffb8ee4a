/* Waits for an answer that does not come in time. */
#include <gmp.h>
#include <stdio.h>

static void answer(void *answers)
{
    int answer = 42;

    gmp_sleep(2000000000); /* nanoseconds */
    gmp_chan_send(answers, &answer);
}

int main(void)
{
    gmp_chan *answers = gmp_chan_make(sizeof(int), 1);
    int got, rc;

    if (answers == NULL || gmp_go(answer, answers) != 0)
        return 1;
    rc = gmp_chan_recv_until(answers, &got, gmp_after_ns(100000000));
    if (rc != 0)
        puts(gmp_strerror(rc)); /* the deadline has passed */
    return rc != -ETIMEDOUT;
}
