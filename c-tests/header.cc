// The header twice in one C++ unit, with all that C++11 to C++23 accept.
#include <gmp.h>
#include <gmp.h>

#include <cerrno>

namespace {

gmp_mutex at_namespace_scope = GMP_MUTEX_INIT;
gmp_waitgroup group = GMP_WAITGROUP_INIT;
gmp_barrier barrier = GMP_BARRIER_INIT(1);

struct Holder {
    gmp_mutex mutex = GMP_MUTEX_INIT;
    gmp_waitgroup group = GMP_WAITGROUP_INIT;
    gmp_barrier barrier = GMP_BARRIER_INIT(1);
};

void work(void *arg)
{
    ++*static_cast<int *>(arg);
}

} // namespace

int main()
{
    static gmp_mutex in_function = GMP_MUTEX_INIT;
    static gmp_barrier barrier_in_function = GMP_BARRIER_INIT(1);
    gmp_chan_attr chan_attr = GMP_CHAN_ATTR_INIT;
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = nullptr;
    Holder holder;
    int n = 0;

    attr.name = "header";
    if (gmp_go_with(&attr, work, &n, &g) != 0 || gmp_join(g) != 0 || n != 1)
        return 1;
    chan_attr.elem_size = 1;
    gmp_chan_unref(gmp_chan_make_with(&chan_attr));
    if (gmp_barrier_wait(&barrier) != 1 ||
        gmp_barrier_wait(&barrier_in_function) != 1 ||
        gmp_barrier_wait(&holder.barrier) != 1)
        return 1;
    errno = ERANGE;
    gmp_yield();
    if (errno != ERANGE)
        return 1;
    return gmp_mutex_trylock(&at_namespace_scope) +
           gmp_mutex_trylock(&in_function) +
           gmp_mutex_trylock(&holder.mutex) +
           gmp_waitgroup_wait(&holder.group) + gmp_waitgroup_wait(&group);
}
