// The header twice in one C++ unit, with all that C++11 to C++23 accept.
#include <gmp.h>
#include <gmp.h>

#include <cerrno>

namespace {

gmp_mutex at_namespace_scope = GMP_MUTEX_INIT;
gmp_waitgroup group = GMP_WAITGROUP_INIT;

struct Holder {
    gmp_mutex mutex = GMP_MUTEX_INIT;
    gmp_waitgroup group = GMP_WAITGROUP_INIT;
};

void work(void *arg)
{
    ++*static_cast<int *>(arg);
}

} // namespace

int main()
{
    static gmp_mutex in_function = GMP_MUTEX_INIT;
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = nullptr;
    Holder holder;
    int n = 0;

    attr.name = "header";
    if (gmp_go_with(&attr, work, &n, &g) != 0 || gmp_join(g) != 0 || n != 1)
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
