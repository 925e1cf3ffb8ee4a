// Shared by the tests of gmprt.hpp: checks that print the values, and a
// watchdog. A test is a function `void test_main()`, called on a host thread
// and then on a goroutine.
#ifndef GMPRT_CPP_TEST_HPP
#define GMPRT_CPP_TEST_HPP

#include <gmprt.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

// Ends the process with status 1 unless cond holds.
#define CHECK(cond) \
    ((cond) ? void() : ::test::fail(__FILE__, __LINE__, #cond))

// The same unless two values are equal; shows those that are numbers or text.
#define CHECK_EQ(got, want) \
    ::test::equal(__FILE__, __LINE__, #got " == " #want, got, want)

// The same unless the statement throws an E; `e` is it.
#define CHECK_THROWS(E, statement, check) \
    do { \
        bool thrown = false; \
        try { \
            statement; \
        } catch (const E &e) { \
            thrown = true; \
            static_cast<void>(e); \
            check; \
        } \
        CHECK(thrown &&#statement); \
    } while (false)

namespace test {

[[noreturn]] inline void fail(const char *file, int line, const char *what)
{
    std::fflush(stdout);
    std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    ::_exit(1);
}

inline std::string show(const std::string &s)
{
    return '"' + s + '"';
}
template <class T> std::string show(const T &x)
{
    if constexpr (std::is_enum_v<T>)
        return std::to_string(static_cast<int>(x));
    else if constexpr (std::is_arithmetic_v<T>)
        return std::to_string(x);
    else
        return "?";
}

template <class A, class B>
void equal(const char *file, int line, const char *what, const A &got,
           const B &want)
{
    if (got == want)
        return;
    const std::string text =
        std::string(what) + ": got " + show(got) + ", want " + show(want);
    fail(file, line, text.c_str());
}

// Waits until `done()`; if it never does, the watchdog ends the test.
template <class F> void await(F done)
{
    while (!done())
        gmp_sleep(200 * 1000) == 0 ? void() : gmp_yield();
}

// Counts its living objects. Moves may not throw.
struct counted {
    static inline std::atomic<int> alive{0};
    int value;

    explicit counted(int v = 0) noexcept : value(v) { alive++; }
    counted(const counted &other) noexcept : value(other.value) { alive++; }
    counted(counted &&other) noexcept : value(std::exchange(other.value, -1))
    {
        alive++;
    }
    counted &operator=(const counted &) noexcept = default;
    counted &operator=(counted &&other) noexcept
    {
        value = std::exchange(other.value, -1);
        return *this;
    }
    ~counted() { alive--; }
};

} // namespace test

// A program that defines TEST_OWN_MAIN has a main of its own.
#ifndef TEST_OWN_MAIN
void test_main();

int main()
{
    ::alarm(50);
    test_main();
    CHECK_EQ(test::counted::alive.load(), 0);
    std::error_code ec;
    gmp::task<void> on_goroutine(ec, test_main);
    CHECK(!ec);
    on_goroutine.join(ec);
    CHECK(!ec);
    CHECK_EQ(test::counted::alive.load(), 0);
}
#endif // TEST_OWN_MAIN

#endif
