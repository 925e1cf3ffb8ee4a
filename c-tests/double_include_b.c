/* The second unit of double_include_a.c. */
#include <errno.h>

#include <gmp.h>
#include <stdbool.h>

int other_unit(void);

static gmp_mutex mutex = GMP_MUTEX_INIT;

int other_unit(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_chan *ch = gmp_chan_make(sizeof(int), 1);
    bool closed;

    attr.flags = GMP_LOCKED_THREAD;
    if (!ch || attr.struct_size != sizeof attr)
        return 1;
    closed = gmp_chan_close(ch) == 0;
    gmp_chan_unref(ch);
    return closed && gmp_mutex_trylock(&mutex) == 0 ? 0 : 1;
}
