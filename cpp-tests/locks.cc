// The locks, by the standard's guards, and what else one waits for.
#include "test.hpp"

#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

gmp::mutex constant_initialised;
gmp::shared_mutex shared_too;
gmp::recursive_mutex recursive_too;
gmp::semaphore semaphore_too(1);
gmp::barrier barrier_too(1);
gmp::once_flag once_too;

// Goroutines and host threads, each so many times. Threads fewer: on a machine
// with much else to do, each lock that comes to a thread takes a turn of the
// kernel's scheduler.
constexpr int rounds = 40, thread_rounds = 10;
constexpr int all_rounds = 6 * rounds + 2 * thread_rounds;

template <class F> void all_at_once(F f)
{
    gmp::wait_group all;
    std::vector<std::thread> threads;
    const auto calls = [&f](int times) {
        for (int k = 0; k < times; k++)
            f();
    };
    for (int i = 0; i < 6; i++)
        all.go(calls, rounds);
    for (int i = 0; i < 2; i++)
        threads.emplace_back(calls, thread_rounds);
    all.wait();
    for (auto &t : threads)
        t.join();
}

template <class Mutex> void excludes()
{
    Mutex m, other;
    int n = 0;
    all_at_once([&] {
        {
            std::lock_guard<Mutex> guard(m);
            n++;
            if (n % 16 == 0)
                gmp::this_goroutine::yield();
        }
        {
            std::scoped_lock both(m, other);
            n++;
        }
        {
            std::scoped_lock both(other, m);
            n++;
        }
        {
            std::unique_lock<Mutex> lock(m, 1h);
            CHECK(lock.owns_lock());
            n++;
        }
        gmp::lock_guard<Mutex> guard(m);
        n++;
    });
    CHECK_EQ(n, 5 * all_rounds);
}

template <class Mutex> void times_out()
{
    Mutex m;
    m.lock();
    gmp::task<void> other([&m] {
        CHECK(!m.try_lock());
        CHECK(!m.try_lock_for(1ms));
        CHECK(!m.try_lock_until(std::chrono::system_clock::now() + 1ms));
        CHECK(!m.try_lock_until(std::chrono::steady_clock::now() + 1ms));
        std::unique_lock<Mutex> lock(m, std::try_to_lock);
        CHECK(!lock.owns_lock());
    });
    other.join();
    gmp::task<int> cancelled([&m] {
        bool thrown = false;
        try {
            static_cast<void>(m.try_lock_for(1h));
        } catch (const gmp::cancelled &) {
            thrown = true;
        }
        CHECK(thrown);
        m.lock(); // is not interrupted
        m.unlock();
        return 1;
    });
    cancelled.cancel();
    m.unlock();
    std::error_code ec;
    cancelled.join(ec);
    CHECK(m.try_lock());
    m.unlock();
}

void shared()
{
    gmp::shared_mutex m;
    int n = 0, seen = 0;
    std::atomic<int> reads{0};
    all_at_once([&] {
        {
            std::shared_lock<gmp::shared_mutex> lock(m);
            reads += n >= 0;
        }
        std::unique_lock<gmp::shared_mutex> lock(m);
        n++;
    });
    CHECK_EQ(n, all_rounds);
    CHECK_EQ(reads.load(), all_rounds);

    m.lock_shared();
    gmp::task<void> reader([&] {
        gmp::shared_lock_guard<gmp::shared_mutex> guard(m);
        std::shared_lock<gmp::shared_mutex> later(m, 1h);
        CHECK(later.owns_lock());
        seen = n;
        CHECK(!m.try_lock());
        CHECK(!m.try_lock_for(1ms));
    });
    reader.join();
    CHECK_EQ(seen, all_rounds);
    m.unlock_shared();
    m.lock();
    gmp::task<void> late([&] {
        CHECK(!m.try_lock_shared());
        CHECK(!m.try_lock_shared_for(1ms));
        CHECK(!m.try_lock_shared_until(std::chrono::system_clock::now() + 1ms));
    });
    late.join();
    m.unlock();
}

// The owner is the goroutine, wherever it runs.
void recursive()
{
    gmp::recursive_mutex m;
    int n = 0;
    all_at_once([&] {
        std::lock_guard<gmp::recursive_mutex> outer(m);
        gmp::this_goroutine::yield();
        std::lock_guard<gmp::recursive_mutex> inner(m);
        CHECK(m.try_lock());
        n++;
        m.unlock();
    });
    CHECK_EQ(n, all_rounds);
    m.lock();
    gmp::sleep_for(1ms);
    m.lock();
    gmp::task<void> other([&m] { CHECK(!m.try_lock()); });
    other.join();
    m.unlock();
    gmp::task<void> still([&m] { CHECK(!m.try_lock_for(1ms)); });
    still.join();
    m.unlock();
    gmp::task<void> now([&m] {
        CHECK(m.try_lock());
        m.unlock();
    });
    now.join();
}

void conditions()
{
    gmp::mutex m;
    gmp::condition_variable changed;
    int turn = 0;
    gmp::wait_group all;
    for (int i = 0; i < 4; i++)
        all.go([&, i] {
            for (int k = 0; k < 50; k++) {
                std::unique_lock<gmp::mutex> lock(m);
                changed.wait(lock, [&] { return turn % 4 == i; });
                turn++;
                changed.notify_all();
            }
        });
    all.wait();
    CHECK_EQ(turn, 200);

    std::unique_lock<gmp::mutex> lock(m);
    CHECK(changed.wait_for(lock, 1ms) == std::cv_status::timeout);
    CHECK(changed.wait_until(lock, std::chrono::system_clock::now() + 1ms) ==
          std::cv_status::timeout);
    CHECK(!changed.wait_for(lock, 1ms, [] { return false; }));
    CHECK(changed.wait_for(lock, 1h, [] { return true; }));
    std::error_code ec;
    changed.wait(lock, ec, 1ms);
    CHECK(ec == std::errc::timed_out);
    CHECK(!changed.wait(lock, [] { return false; }, ec, 1ms));
    CHECK(ec == std::errc::timed_out);
    CHECK(changed.wait(lock, [] { return true; }, ec) && !ec);
    lock.unlock();
    CHECK_THROWS(std::system_error, changed.wait(lock),
                 CHECK(e.code() == std::errc::operation_not_permitted));

    gmp::task<void> waits([&] {
        std::unique_lock<gmp::mutex> inner(m);
        try {
            changed.wait(inner);
        } catch (const gmp::cancelled &) {
            CHECK(inner.owns_lock());
            throw;
        }
    });
    waits.cancel();
    waits.join(ec);
    CHECK(ec == std::errc::operation_canceled);
    CHECK(m.try_lock());
    m.unlock();
}

void counters()
{
    gmp::semaphore s(2);
    CHECK_EQ(s.value(), 2);
    s.acquire();
    CHECK(s.try_acquire());
    CHECK(!s.try_acquire() && !s.try_acquire_for(1ms));
    CHECK(!s.try_acquire_until(std::chrono::system_clock::now() + 1ms));
    std::error_code ec;
    CHECK(!s.acquire(ec, 1ms));
    CHECK(ec == std::errc::timed_out);
    s.release(3);
    CHECK_EQ(s.value(), 3);
    CHECK(s.acquire(ec) && !ec);

    gmp::latch done(3);
    CHECK(!done.try_wait());
    gmp::task<void> last([&done] { done.arrive_and_wait(); });
    done.count_down(2);
    done.wait();
    CHECK(done.try_wait());
    last.join();
    CHECK_THROWS(std::system_error, done.count_down(), );

    gmp::wait_group group;
    group.add(2);
    CHECK(!group.wait_for(1ms) && !group.try_wait());
    CHECK(!group.wait_until(std::chrono::system_clock::now() + 1ms));
    group.done();
    group.go([&group] { group.done(); });
    group.wait();
    CHECK(group.try_wait());
    CHECK_THROWS(std::system_error, group.done(),
                 CHECK(e.code() == std::errc::invalid_argument));
}

void barriers()
{
    gmp::barrier all(5);
    std::atomic<int> come{0}, chosen{0};
    gmp::wait_group group;
    for (int i = 0; i < 5; i++)
        group.go([&] {
            for (int round = 1; round <= 20; round++) {
                come++;
                if (all.arrive_and_wait())
                    chosen++;
                CHECK(come.load() >= 5 * round);
                all.arrive_and_wait();
            }
        });
    group.wait();
    CHECK_EQ(chosen.load(), 20);
    std::error_code ec;
    CHECK(!all.arrive_and_wait(ec, 1ms));
    CHECK(ec == std::errc::timed_out);
}

void once()
{
    gmp::once_flag flag;
    int calls = 0;
    CHECK_THROWS(int, gmp::call_once(flag, [] { throw 1; }), );
    all_at_once([&] {
        gmp::call_once(
            flag,
            [&calls](int n) {
                gmp::sleep_for(1ms);
                calls += n;
            },
            1);
        CHECK_EQ(calls, 1);
    });
    gmp::call_once(once_too, [] {});
}

} // namespace

void test_main()
{
    excludes<gmp::mutex>();
    excludes<gmp::shared_mutex>();
    excludes<gmp::recursive_mutex>();
    times_out<gmp::mutex>();
    times_out<gmp::shared_mutex>();
    times_out<gmp::recursive_mutex>();
    shared();
    recursive();
    conditions();
    counters();
    barriers();
    once();
    std::scoped_lock all(constant_initialised, shared_too, recursive_too);
    semaphore_too.acquire();
    semaphore_too.release();
    CHECK(barrier_too.arrive_and_wait());
}
