/* Select: the first of several channels. */
#include <gmp.h>
#include <stdio.h>

/* A job, the end of all jobs, or the time limit of a second. */
static int next_job(gmp_chan *jobs, gmp_chan *stop, int *job)
{
    gmp_case cases[] = {{jobs, job, GMP_RECV, 0}, {stop, NULL, GMP_RECV, 0}};
    int ran = gmp_select_until(cases, 2, gmp_after_ns(1000000000));

    return ran == 0 && cases[0].result == 0;
}

/* Gives a job to a worker that is free at once, and says if there was none. */
static int hand_out(gmp_chan *jobs, int job)
{
    gmp_case one = {jobs, &job, GMP_SEND, 0};

    return gmp_try_select(&one, 1) == 0 ? 0 : -EAGAIN;
}

/* Copies what comes from either channel to a third one. */
static void merge(gmp_chan *a, gmp_chan *b, gmp_chan *out)
{
    int n;
    gmp_case cases[] = {{a, &n, GMP_RECV, 0}, {b, &n, GMP_RECV, 0}};

    while (cases[0].ch != NULL || cases[1].ch != NULL) {
        int ran = gmp_select(cases, 2);

        if (ran < 0)
            break; /* cancelled */
        if (cases[ran].result == -EPIPE)
            cases[ran].ch = NULL; /* closed: this case never runs again */
        else if (gmp_chan_send(out, &n) != 0)
            break;
    }
}

int main(void)
{
    gmp_chan *jobs = gmp_chan_make(sizeof(int), 1);
    gmp_chan *stop = gmp_chan_make(0, 0);
    gmp_chan *more = gmp_chan_make(sizeof(int), 1);
    gmp_chan *out = gmp_chan_make(sizeof(int), 4);
    int job = 0, rc = 1;

    if (hand_out(jobs, 7) == 0 && hand_out(jobs, 8) == -EAGAIN &&
        next_job(jobs, stop, &job) && job == 7) {
        gmp_chan_close(stop);
        hand_out(jobs, 9);
        gmp_chan_close(jobs);
        gmp_chan_close(more);
        merge(jobs, more, out);
        rc = gmp_chan_len(out) != 1;
    }
    printf("job %d\n", job);
    gmp_chan_unref(jobs);
    gmp_chan_unref(stop);
    gmp_chan_unref(more);
    gmp_chan_unref(out);
    return rc;
}
