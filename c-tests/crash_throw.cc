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

// --- Where nobody can catch it ---------------------------------------------

int from_unlockf(gmp_g *, void *)
{
    fail("unlockf");
}

void in_unlockf(void *)
{
    try {
        gmp_park(from_unlockf, nullptr, nullptr);
    } catch (...) {
        _exit(3);
    }
}

void from_deferred(void *)
{
    fail("deferred");
}

void in_deferred(void *)
{
    CHECK_OK(gmp_defer(from_deferred, nullptr));
}

// The handler is of frames that gmp_exit is about to leave.
void in_deferred_of_exit(void *)
{
    CHECK_OK(gmp_defer(from_deferred, nullptr));
    try {
        gmp_exit();
    } catch (...) {
        _exit(3);
    }
}

void in_destructor(void *)
{
    int value;

    CHECK_OK(gmp_setspecific(gmp_key_create(from_deferred), &value));
    gmp_exit();
}

int member(void *)
{
    fail("member");
}

int main_that_throws(int, char **)
{
    fail("main");
}

// Whether `which` is one of these.
bool nobody_catches(const std::string &which)
{
    if (which == "unlockf")
        gmp_join(spawn(in_unlockf, nullptr));
    else if (which == "unlockf_worker")
        gmp_join_until(spawn(in_unlockf, nullptr), gmp_after_ns(SEC(40)));
    else if (which == "unlockf_thread")
        in_unlockf(nullptr);
    else if (which == "deferred")
        gmp_join(spawn(in_deferred, nullptr));
    else if (which == "deferred_exit")
        gmp_join(spawn(in_deferred_of_exit, nullptr));
    else if (which == "destructor")
        gmp_join(spawn(in_destructor, nullptr));
    else if (which == "member") {
        gmp_group *group = gmp_group_make();

        gmp_group_go(group, member, nullptr);
        gmp_group_wait(group);
    } else if (which == "main")
        gmp_run_main(0, nullptr, main_that_throws);
    else if (which == "timer") {
        gmp_timer_start(0, 0, from_deferred, nullptr);
        gmp_sleep(SEC(40));
    } else
        return false;
    return true;
}

} // namespace

int test_main(int argc, char **argv)
{
    char plain[] = "plain";
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = nullptr;

    if (nobody_catches(argc > 1 ? argv[1] : plain))
        return 0;
    attr.name = "thrower";
    CHECK_OK(gmp_go_with(&attr, thrower, argc > 1 ? argv[1] : plain, &g));
    gmp_join(g);
    return 0;
}
