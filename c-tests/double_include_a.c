/* The header twice in one unit, and in two units of one program; only what
 * strict C99 has. */
#include <gmp.h>
#include <gmp.h>

#include <stdio.h>

int other_unit(void);

static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_waitgroup group = GMP_WAITGROUP_INIT;
static const gmp_attr attr = GMP_ATTR_INIT;

static void work(void *arg)
{
    *(int *)arg += 1;
    gmp_waitgroup_done(&group);
}

int main(void)
{
    int n = 0;
    gmp_g *g = NULL;
    int64_t deadline = GMP_FOREVER;

    if (gmp_waitgroup_add(&group, 1) != 0 ||
        gmp_go_with(&attr, work, &n, &g) != 0 ||
        gmp_waitgroup_wait(&group) != 0 || gmp_join_until(g, deadline) != 0)
        return 1;
    if (gmp_mutex_lock(&mutex) != 0 || gmp_mutex_unlock(&mutex) != 0)
        return 1;
    if (n != 1 || other_unit() != 0)
        return 1;
    errno = ERANGE;
    gmp_yield();
    if (errno != ERANGE)
        return 1;
    puts(gmp_rt_version());
    return 0;
}
