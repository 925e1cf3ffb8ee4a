// select: which case runs, what its handler gets, what the others keep.
#include "test.hpp"

#include <memory>
#include <string>

using namespace std::chrono_literals;
using test::counted;

namespace {

void first_ready()
{
    gmp::channel<int> a(1), b(1);
    gmp::channel<std::string> c(1);
    int got = 0;

    CHECK(b.send(5));
    CHECK_EQ(gmp::select(gmp::recv(a, [&](int x) { got = x; }),
                         gmp::recv(b, [&](int x) { got = 10 * x; })),
             1u);
    CHECK_EQ(got, 50);
    bool sent = false;
    CHECK_EQ(gmp::select(gmp::recv(a, [](int) { CHECK(false); }),
                         gmp::send(c, "text", [&] { sent = true; })),
             1u);
    CHECK(sent);
    std::string text;
    gmp::select(gmp::recv(c, [&](std::string &&s) { text = std::move(s); }));
    CHECK_EQ(text, "text");
    CHECK(c.send("more"));
    std::optional<std::string> into;
    CHECK_EQ(gmp::select(gmp::recv(c, into)), 0u);
    CHECK_EQ(*into, "more");
    CHECK(c.send("dropped"));
    CHECK_EQ(gmp::select(gmp::recv(c)), 0u);
    CHECK_EQ(c.size(), 0u);
    int called = 0;
    CHECK(c.send("dropped"));
    gmp::select(gmp::recv(c, [&] { called++; }));
    CHECK_EQ(called, 1);
}

void parks()
{
    gmp::channel<std::unique_ptr<int>> jobs(0);
    gmp::channel<int> stop(0);
    gmp::task<void> feeds([=] {
        for (int i = 0; i < 100; i++)
            CHECK(jobs.send(std::make_unique<int>(i)));
        CHECK(stop.close());
    });
    int n = 0;
    bool over = false;
    while (!over)
        gmp::select(gmp::recv(jobs,
                              [&](std::unique_ptr<int> p) {
                                  CHECK_EQ(*p, n);
                                  n++;
                              }),
                    gmp::recv(stop, [&](std::optional<int> x) {
                        CHECK(!x);
                        over = true;
                    }));
    CHECK_EQ(n, 100);
    feeds.join();
}

// A value that another case kept from being sent is where it was.
void not_sent_stays()
{
    gmp::channel<std::string> full(0);
    gmp::channel<int> ready(1);
    std::string text = "a text that is longer than any small string";
    counted thing(3);
    gmp::channel<counted> full_too(0);

    CHECK(ready.send(1));
    CHECK_EQ(gmp::select(gmp::send(full, std::move(text)),
                         gmp::send(full_too, std::move(thing)),
                         gmp::recv(ready)),
             2u);
    CHECK_EQ(text, "a text that is longer than any small string");
    CHECK_EQ(thing.value, 3);
    const counted constant(4);
    CHECK_EQ(gmp::select(gmp::send(full_too, constant), gmp::otherwise()), 1u);
    CHECK_EQ(counted::alive.load(), 2);
    gmp::channel<counted> room(2);
    CHECK_EQ(gmp::select(gmp::send(room, constant), gmp::otherwise()), 0u);
    CHECK_EQ(gmp::select(gmp::send(room, std::move(thing))), 0u);
    CHECK_EQ(thing.value, -1);
    CHECK_EQ(counted::alive.load(), 4);
    int sum = 0;
    for (int i = 0; i < 2; i++)
        gmp::select(gmp::recv(room, [&](const counted &c) { sum += c.value; }));
    CHECK_EQ(sum, 7);
    CHECK_EQ(counted::alive.load(), 2);
}

void closed()
{
    gmp::channel<int> ch(1);
    ch.close();
    bool told = true;
    gmp::select(gmp::send(ch, 1, [&](bool sent) { told = sent; }));
    CHECK(!told);
    CHECK_THROWS(std::system_error, gmp::select(gmp::send(ch, 1)),
                 CHECK(e.code() == std::errc::broken_pipe));
    CHECK_THROWS(std::system_error, gmp::select(gmp::send(ch, 1, [] {})), );
    CHECK_THROWS(std::system_error, gmp::select(gmp::recv(ch, [](int) {})),
                 CHECK(e.code() == std::errc::broken_pipe));
    std::optional<int> into = 3;
    gmp::select(gmp::recv(ch, into));
    CHECK(!into);
    CHECK_EQ(gmp::select(gmp::recv(ch)), 0u);
}

void deadlines()
{
    gmp::channel<int> never(0), none;
    int which = 0;

    CHECK_EQ(gmp::select(gmp::recv(never), gmp::after(1h, [&] { which = 1; }),
                         gmp::after(1ms, [&] { which = 2; })),
             2u);
    CHECK_EQ(which, 2);
    CHECK_EQ(gmp::select(gmp::after(std::chrono::system_clock::now() + 1ms),
                         gmp::recv(never)),
             0u);
    CHECK_EQ(gmp::select(gmp::recv(never),
                         gmp::otherwise([&] { which = 3; })),
             1u);
    CHECK_EQ(which, 3);
    // An empty handle is never ready.
    CHECK_EQ(gmp::select(gmp::recv(none), gmp::send(none, 1),
                         gmp::after(1ms)),
             2u);
    CHECK_EQ(gmp::select(gmp::recv(none), gmp::otherwise()), 1u);
}

void cancelled()
{
    gmp::channel<counted> never(0);
    counted thing(9);
    std::error_code ec;
    gmp::task<void> t([&] {
        std::error_code inner;
        CHECK(gmp::select(inner, gmp::recv(never), gmp::after(1h)) ==
              SIZE_MAX);
        CHECK(inner == std::errc::operation_canceled);
        gmp::select(gmp::recv(never), gmp::send(never, std::move(thing)));
    });
    t.cancel();
    t.join(ec);
    CHECK(ec == std::errc::operation_canceled);
    CHECK_EQ(thing.value, 9);
}

void handlers_may_throw()
{
    gmp::channel<counted> ch(1);
    CHECK(ch.send(counted(1)));
    CHECK_THROWS(std::runtime_error,
                 gmp::select(gmp::recv(ch,
                                       [](counted) {
                                           throw std::runtime_error("x");
                                       }),
                             gmp::after(1h)), );
    CHECK_EQ(counted::alive.load(), 0);
}

// Both ways through one channel at the same time, and both ends.
void ends()
{
    gmp::channel<int> ch(1);
    gmp::sender<int> in = ch;
    gmp::receiver<int> out = ch;
    int sum = 0;
    for (int i = 0; i < 100; i++)
        gmp::select(gmp::send(in, 1), gmp::recv(out, [&](int x) { sum += x; }));
    CHECK_EQ(sum, 50);
    // A long for an int, and a char for one.
    CHECK_EQ(gmp::select(gmp::send(ch, 'a')), 0u);
    CHECK_EQ(*ch.recv(), int{'a'});
}

} // namespace

void test_main()
{
    first_ready();
    parks();
    not_sent_stays();
    closed();
    deadlines();
    cancelled();
    handlers_may_throw();
    ends();
}
