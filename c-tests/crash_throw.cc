// An exception leaves a goroutine's function. Usage: crash_throw CASE.
#include "test.h"

#include <stdexcept>
#include <string>

namespace {

struct Unlike {
};

[[noreturn]] void fail(const std::string &which)
{
    if (which == "int")
        throw 42;
    if (which == "own_type")
        throw Unlike();
    throw std::runtime_error("the reason");
}

void thrower(void *arg)
{
    const std::string which = static_cast<char *>(arg);

    if (which == "after_park")
        CHECK_OK(gmp_sleep(MS(5)));
    if (which == "rethrow") {
        try {
            fail(which);
        } catch (const std::exception &) {
            gmp_yield();
            throw;
        }
    }
    fail(which);
}

} // namespace

int test_main(int argc, char **argv)
{
    char plain[] = "plain";
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = nullptr;

    attr.name = "thrower";
    CHECK_OK(gmp_go_with(&attr, thrower, argc > 1 ? argv[1] : plain, &g));
    gmp_join(g);
    return 0;
}
