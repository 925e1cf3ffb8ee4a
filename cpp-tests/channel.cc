// channel<T>, sender<T>, receiver<T>: what travels, how it is waited for, and
// what becomes of elements that nobody receives.
#include "test.hpp"

#include <array>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using gmp::channel_status;
using test::counted;

namespace {

// Its move may throw, so it travels in a box.
struct may_throw {
    static inline bool now = false;
    counted c;

    explicit may_throw(int v) : c(v) {}
    may_throw(may_throw &&other) noexcept(false) : c(std::move(other.c))
    {
        if (now)
            throw std::runtime_error("moved");
    }
    may_throw &operator=(may_throw &&) noexcept = default;
};

struct alignas(64) wide {
    std::array<double, 8> lanes{};
};

struct unassignable {
    const int value;
    std::unique_ptr<int> owned;
};

// Knows where it lies, as libstdc++'s std::string does.
struct self_pointing {
    int value;
    const self_pointing *self;

    explicit self_pointing(int v) noexcept : value(v), self(this) {}
    self_pointing(self_pointing &&other) noexcept
        : value(other.value), self(this)
    {
        CHECK(other.self == &other);
    }
    self_pointing &operator=(self_pointing &&other) noexcept
    {
        value = other.value;
        return *this;
    }
    ~self_pointing() { CHECK(self == this); }
};

// Through a buffer, from a waiting sender, and to a waiting receiver.
template <class T, class Make, class Same> void travels(Make make, Same same)
{
    for (const std::size_t capacity : {0u, 1u, 5u}) {
        gmp::channel<T> ch(capacity, "travels");
        CHECK_EQ(ch.capacity(), capacity);
        gmp::task<void> sends([&] {
            for (int i = 0; i < 20; i++) {
                if (i % 4 == 0)
                    gmp::this_goroutine::yield();
                CHECK(ch.send(make(i)));
            }
            CHECK(ch.close());
        });
        int n = 0;
        for (T &x : ch)
            CHECK(same(x, n++));
        CHECK_EQ(n, 20);
        CHECK(!ch.recv());
        CHECK(!ch.send(make(0)));
        CHECK(!ch.close());
        sends.join();
    }
}

void all_kinds()
{
    travels<int>([](int i) { return i; }, [](int x, int i) { return x == i; });
    travels<std::string>(
        [](int i) { return std::string(static_cast<std::size_t>(i), 'x'); },
        [](const std::string &s, int i) {
            return s == std::string(static_cast<std::size_t>(i), 'x');
        });
    travels<std::unique_ptr<int>>(
        [](int i) { return std::make_unique<int>(i); },
        [](const std::unique_ptr<int> &p, int i) { return *p == i; });
    travels<counted>([](int i) { return counted(i); },
                     [](const counted &c, int i) { return c.value == i; });
    travels<may_throw>([](int i) { return may_throw(i); },
                       [](const may_throw &m, int i) {
                           return m.c.value == i;
                       });
    travels<self_pointing>(
        [](int i) { return self_pointing(i); },
        [](const self_pointing &p, int i) { return p.value == i; });
    travels<wide>(
        [](int i) {
            wide w;
            w.lanes[7] = i;
            return w;
        },
        [](const wide &w, int i) {
            return w.lanes[7] == i &&
                   reinterpret_cast<std::uintptr_t>(&w) % 64 == 0;
        });
    travels<std::map<std::string, int>>(
        [](int i) { return std::map<std::string, int>{{"n", i}}; },
        [](const std::map<std::string, int> &m, int i) {
            return m.at("n") == i;
        });
    travels<unassignable>(
        [](int i) { return unassignable{i, std::make_unique<int>(i)}; },
        [](const unassignable &u, int i) {
            return u.value == i && *u.owned == i;
        });
    CHECK_EQ(counted::alive.load(), 0);
}

void left_in_a_channel()
{
    {
        gmp::channel<counted> ch(10);
        for (int i = 0; i < 7; i++)
            CHECK(ch.send(counted(i)));
        CHECK_EQ(ch.size(), 7u);
        CHECK_EQ(ch.recv()->value, 0);
        CHECK_EQ(counted::alive.load(), 6);
    }
    CHECK_EQ(counted::alive.load(), 0);
    {
        gmp::channel<may_throw> boxed(10);
        CHECK(boxed.send(may_throw(1)) && boxed.send(may_throw(2)));
        gmp::channel<std::shared_ptr<counted>> shared(2);
        CHECK(shared.send(std::make_shared<counted>(1)));
        gmp::channel<gmp::channel<counted>> nested(1);
        gmp::channel<counted> inner(1);
        CHECK(inner.send(counted(1)));
        CHECK(nested.send(std::move(inner)));
        CHECK(!inner);
        CHECK_EQ(counted::alive.load(), 4);
    }
    CHECK_EQ(counted::alive.load(), 0);
}

// What was not sent is where it was.
void not_sent_stays()
{
    gmp::channel<std::string> ch(1);
    std::string first = "the first of them all", text = "a text of some length";
    CHECK(ch.send(std::move(first)));
    CHECK(first.empty());
    CHECK_EQ(ch.try_send(std::move(text)), channel_status::full);
    CHECK_EQ(text, "a text of some length");
    CHECK_EQ(ch.send_for(std::move(text), 1ms), channel_status::timeout);
    CHECK_EQ(text, "a text of some length");
    std::error_code ec;
    CHECK(!ch.send(std::move(text), ec, 1ms));
    CHECK(ec == std::errc::timed_out);
    CHECK_EQ(text, "a text of some length");
    CHECK(ch.close());
    CHECK_EQ(ch.try_send(std::move(text)), channel_status::closed);
    CHECK(!ch.send(std::move(text)));
    CHECK(!ch.send(std::move(text), ec));
    CHECK(ec == std::errc::broken_pipe);
    CHECK_EQ(text, "a text of some length");
    CHECK_EQ(*ch.recv(), "the first of them all");

    gmp::channel<counted> full(0);
    counted mine(5);
    gmp::task<void> cancelled([&] {
        try {
            static_cast<void>(full.send(std::move(mine)));
        } catch (const gmp::cancelled &) {
            CHECK_EQ(mine.value, 5);
            throw;
        }
    });
    cancelled.cancel();
    cancelled.join(ec);
    CHECK(ec == std::errc::operation_canceled);
    const counted kept(6);
    CHECK_EQ(full.try_send(kept), channel_status::full);
    CHECK_EQ(counted::alive.load(), 2);
}

void clocks()
{
    gmp::channel<int> ch(1);
    auto late = ch.recv_for(1ms);
    CHECK(!late && late.timed_out() && !late.closed());
    CHECK(ch.recv_until(std::chrono::steady_clock::now() + 1ms).timed_out());
    CHECK(ch.recv_until(std::chrono::system_clock::now() + 1ms).timed_out());
    CHECK(ch.recv_until(std::chrono::system_clock::now() - 1h).timed_out());
    CHECK_EQ(ch.try_recv().status(), channel_status::empty);
    CHECK_EQ(ch.send_for(1, 1ms), channel_status::success);
    CHECK_EQ(ch.send_until(2, std::chrono::system_clock::now() + 1ms),
             channel_status::timeout);
    CHECK_EQ(ch.send_until(2, std::chrono::steady_clock::now() - 1ms),
             channel_status::timeout);
    CHECK_EQ(*ch.recv_for(1h), 1);
    CHECK_EQ(ch.send_until(3, std::chrono::steady_clock::time_point::max()),
             channel_status::success);
    auto got = ch.try_recv();
    CHECK(got && *got == 3 && got.status() == channel_status::success);
    CHECK(ch.close());
    CHECK(ch.recv_for(1h).closed() && ch.try_recv().closed());
    std::error_code ec;
    CHECK(!ch.recv(ec));
    CHECK(ec == std::errc::broken_pipe);
}

void ends()
{
    gmp::channel<int> ch(1);
    gmp::sender<int> in = ch;
    gmp::receiver<int> out = ch;
    gmp::sender<int> none;
    CHECK(in && out && !none);
    CHECK(in == ch && out == ch && none != ch);
    CHECK(in.send(4));
    CHECK_EQ(*out.recv(), 4);
    gmp::receiver<int> last = std::move(ch);
    CHECK(!ch && last == in);
    in.close();
    for (int x : last)
        CHECK(x == 0);
}

void empty_handles()
{
    gmp::channel<int> none;
    std::error_code ec;
    CHECK(!none);
    CHECK_EQ(none.size() + none.capacity(), 0u);
    CHECK_THROWS(std::system_error, none.recv(),
                 CHECK(e.code() == std::errc::invalid_argument));
    CHECK_THROWS(std::system_error, static_cast<void>(none.send(1)),
                 CHECK(e.code() == std::errc::invalid_argument));
    CHECK_THROWS(std::system_error, none.try_recv(), );
    CHECK_THROWS(std::system_error, none.close(), );
    CHECK(!none.recv(ec) && ec == std::errc::invalid_argument);
    CHECK(!none.send(1, ec) && ec == std::errc::invalid_argument);
    gmp::channel<int> made = gmp::channel<int>::make(1, ec);
    CHECK(made && !ec);
    gmp::channel<int> copy = made;
    gmp::channel<int> moved = std::move(made);
    CHECK(!made && moved == copy);
    const gmp::channel<int> &same = copy;
    copy = same;
    CHECK(copy);
}

void a_copy_that_throws()
{
    gmp::channel<may_throw> ch(2);
    may_throw one(1);
    may_throw::now = true;
    CHECK_THROWS(std::runtime_error, static_cast<void>(ch.send(std::move(one))),
                 CHECK_EQ(std::string(e.what()), "moved"));
    may_throw::now = false;
    CHECK_EQ(ch.size(), 0u);
    CHECK(ch.send(may_throw(2)));
    may_throw::now = true;
    CHECK_THROWS(std::runtime_error, ch.recv(), );
    may_throw::now = false;
}

// Four and four, strings of all lengths, each received once.
void many()
{
    gmp::channel<std::string> ch(3);
    gmp::wait_group senders;
    std::vector<gmp::task<long>> receivers;
    for (int i = 0; i < 4; i++) {
        senders.go([ch, i] {
            for (int k = 0; k < 500; k++)
                CHECK(ch.send(std::string(static_cast<std::size_t>(k % 40),
                                          static_cast<char>('a' + i))));
        });
        receivers.emplace_back([ch] {
            long sum = 0;
            for (const std::string &s : ch) {
                sum += static_cast<long>(s.size()) + 1;
                for (char c : s)
                    CHECK_EQ(c, s[0]);
            }
            return sum;
        });
    }
    senders.wait();
    ch.close();
    long sum = 0;
    for (auto &r : receivers)
        sum += r.join();
    long want = 0;
    for (int k = 0; k < 500; k++)
        want += 4 * (k % 40 + 1);
    CHECK_EQ(sum, want);
}

void ticks()
{
    gmp::receiver<std::int64_t> ticker = gmp::tick(1ms);
    const auto first = *ticker.recv(), second = *ticker.recv();
    CHECK(second > first);
    CHECK_THROWS(std::system_error, gmp::tick(0ms),
                 CHECK(e.code() == std::errc::invalid_argument));
}

#if defined(__cpp_lib_expected)
void expects()
{
    gmp::channel<std::string> ch(1);
    CHECK(ch.send("text"));
    CHECK_EQ(ch.expect().value(), "text");
    CHECK(ch.expect(1ms).error() == std::errc::timed_out);
    ch.close();
    CHECK(ch.expect().error() == std::errc::broken_pipe);
}
#endif

#if defined(__cpp_lib_ranges) && __GNUC__ >= 12
static_assert(std::input_iterator<gmp::channel<int>::iterator>);
#endif

} // namespace

void test_main()
{
    all_kinds();
    left_in_a_channel();
    not_sent_stays();
    clocks();
    ends();
    empty_handles();
    a_copy_that_throws();
    many();
    ticks();
#if defined(__cpp_lib_expected)
    expects();
#endif
}
