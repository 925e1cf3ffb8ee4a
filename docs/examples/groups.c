/* A group: the first error ends all members. */
#include <gmp.h>
#include <stdio.h>

/* Fails at once. */
static int bad(void *arg)
{
    (void)arg;
    return -EIO;
}

/* Would wait for an hour, but is cancelled by the group. */
static int patient(void *arg)
{
    (void)arg;
    return gmp_sleep(3600000000000);
}

/* Runs both; none of them is left when it returns. */
static int run_both(void)
{
    gmp_group *gr = gmp_group_make();
    int rc = gr == NULL ? -ENOMEM : gmp_group_go(gr, patient, NULL);

    if (rc == 0)
        rc = gmp_group_go(gr, bad, NULL);
    if (rc == 0)
        rc = gmp_group_wait(gr);
    gmp_group_free(gr);
    return rc; /* -EIO */
}

/* Gives the members 5 ms, and then ends them. */
static int run_for_a_while(void)
{
    gmp_group *gr = gmp_group_make();
    int rc = gr == NULL ? -ENOMEM : gmp_group_go(gr, patient, NULL);

    if (rc == 0)
        rc = gmp_group_wait_until(gr, gmp_after_ns(5000000));
    if (rc == -ETIMEDOUT) {
        gmp_group_cancel(gr);
        gmp_group_wait(gr); /* returns -ECANCELED, the error of the member */
    }
    gmp_group_free(gr);
    return rc;
}

int main(void)
{
    int both = run_both();

    printf("%s\n", gmp_strerror(both));
    return both != -EIO || run_for_a_while() != -ETIMEDOUT;
}
