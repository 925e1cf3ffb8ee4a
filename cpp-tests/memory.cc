// What the header allocates: what the table of docs/cpp.md promises.
#include "test.hpp"

#include <array>
#include <dlfcn.h>
#include <memory>
#include <mutex>
#include <new>
#include <string>

namespace {

std::atomic<int> allocations{0};

void *allocate(std::size_t bytes)
{
    allocations++;
    return std::malloc(bytes ? bytes : 1);
}

} // namespace

void *operator new(std::size_t bytes)
{
    if (void *p = allocate(bytes))
        return p;
    throw std::bad_alloc();
}
void *operator new(std::size_t bytes, const std::nothrow_t &) noexcept
{
    return allocate(bytes);
}
// Not put into their callers: gcc would see a free of what new has given.
[[gnu::noinline]] void operator delete(void *p) noexcept
{
    std::free(p);
}
[[gnu::noinline]] void operator delete(void *p, std::size_t) noexcept
{
    std::free(p);
}
[[gnu::noinline]] void operator delete(void *p, const std::nothrow_t &) noexcept
{
    std::free(p);
}

// In front of the library's.
void *gmp_kept_malloc(std::size_t bytes)
{
    static const auto next = reinterpret_cast<void *(*)(std::size_t)>(
        dlsym(RTLD_NEXT, "gmp_kept_malloc"));
    allocations++;
    return next(bytes);
}

namespace {

template <class F> int allocates(F f)
{
    const int before = allocations;
    f();
    return allocations - before;
}

// A type whose move may throw.
struct may_throw {
    may_throw() = default;
    may_throw(may_throw &&) noexcept(false) {}
    may_throw &operator=(may_throw &&) = default;
};

} // namespace

void test_main()
{
    gmp::wait_group all;
    std::atomic<int> n{0};
    const std::array<int, 200> large{};
    const std::array<int, 400> larger{};
    std::string text(100, 'x');

    CHECK_EQ(allocates([&] {
                 all.add();
                 gmp::go([&all]() { all.done(); });
                 all.go([&n] { n++; });
                 all.go([&n, large] { n += large[0]; });
                 all.go([](std::atomic<int> *to, int by) { *to += by; }, &n, 2);
                 all.wait();
             }),
             0);
    CHECK_EQ(allocates([&] {
                 all.go([larger] { static_cast<void>(larger); });
                 all.wait();
             }),
             1);
    CHECK_EQ(allocates([&] {
                 gmp::task<void>([&n] { n++; }).join();
                 gmp::task<void> cancelled([&n] { n++; });
             }),
             0);
    CHECK_EQ(allocates([&] { gmp::task<int>([] { return 1; }).join(); }), 1);
    CHECK_EQ(allocates([&] {
                 gmp::task<void>([&n, a = 1, b = 2] { n += a + b; }).join();
             }),
             1);
    gmp::group g;
    CHECK_EQ(allocates([&] {
                 g.go([&n]() noexcept { n++; });
                 g.wait();
             }),
             0);
    CHECK_EQ(allocates([&] {
                 g.go([&n] { n++; });
                 g.wait();
             }),
             1);
    // A string is copied into the task: that is the other one.
    CHECK_EQ(allocates([&] {
                 gmp::task<void>([text] { CHECK_EQ(text.size(), 100u); })
                     .join();
             }),
             2);

    gmp::channel<std::string> strings(2);
    gmp::channel<std::unique_ptr<int>> owned(2);
    gmp::channel<may_throw> boxed(2);
    gmp::mutex m;
    std::string s(100, 'y');
    auto p = std::make_unique<int>(1);
    CHECK_EQ(allocates([&] {
                 CHECK(strings.send(std::move(s)));
                 s = std::move(*strings.recv());
                 CHECK(owned.send(std::move(p)));
                 gmp::select(gmp::recv(owned, [&](std::unique_ptr<int> q) {
                     p = std::move(q);
                 }));
                 std::lock_guard<gmp::mutex> guard(m);
             }),
             0);
    CHECK_EQ(allocates([&] {
                 CHECK(boxed.send(may_throw()));
                 boxed.recv();
             }),
             1);
}
