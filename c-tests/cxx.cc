// C++ in goroutines: exceptions belong to the goroutine that throws them,
// wherever it wakes up; static initialisers may use the library.
#include "test.h"

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

namespace {

constexpr int workers = 24;
constexpr int rounds = 100;

std::atomic<int> early{0};

// Runs before main, and in a plugin inside dlopen: starting a goroutine there
// must work, waiting for one must not be needed.
struct StartsEarly {
    gmp_g *g = nullptr;

    StartsEarly()
    {
        gmp_attr attr = GMP_ATTR_INIT;

        started = gmp_go_with(&attr, [](void *) { early++; }, nullptr, &g);
    }

    int started;
} starts_early;

gmp_mutex mutex = GMP_MUTEX_INIT;
gmp_waitgroup group = GMP_WAITGROUP_INIT;
gmp_chan *chan;

// Parks in one of the ways there are; comes back on any thread.
void wander(int i)
{
    switch (i % 4) {
    case 0:
        gmp_yield();
        break;
    case 1:
        CHECK_OK(gmp_sleep(US(10)));
        break;
    case 2:
        CHECK_OK(gmp_mutex_lock(&mutex));
        gmp_yield();
        CHECK_OK(gmp_mutex_unlock(&mutex));
        break;
    default:
        CHECK_OK(gmp_chan_send(chan, &i));
        CHECK_OK(gmp_chan_recv(chan, nullptr));
    }
}

// A channel of strings, which own memory and may point into themselves.
void carry_strings()
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    const std::string longer(1000, 'y');

    attr.elem_size = sizeof(std::string);
    attr.capacity = 3;
    attr.name = "strings";
    attr.destroy = [](void *elem) {
        std::destroy_at(static_cast<std::string *>(elem));
    };
    attr.move = [](void *to, void *from) {
        auto *s = static_cast<std::string *>(from);

        new (to) std::string(std::move(*s));
        std::destroy_at(s);
    };
    gmp_chan *strings = gmp_chan_make_with(&attr);
    CHECK(strings != nullptr);
    for (int i = 0; i < rounds; i++) {
        alignas(std::string) unsigned char place[sizeof(std::string)];
        const std::string &want = i % 2 ? longer : "short";

        new (place) std::string(want);
        CHECK_OK(gmp_chan_send(strings, place));
        if (i % 7 == 0) {
            CHECK_OK(gmp_chan_recv(strings, nullptr));
            continue;
        }
        CHECK_OK(gmp_chan_recv(strings, place));
        auto *got = std::launder(reinterpret_cast<std::string *>(place));
        CHECK(*got == want);
        std::destroy_at(got);
    }
    for (int i = 0; i < 3; i++) {
        alignas(std::string) unsigned char place[sizeof(std::string)];

        new (place) std::string(longer);
        CHECK_OK(gmp_chan_send(strings, place));
    }
    gmp_chan_unref(strings);
}

void throw_deep(int depth, int value)
{
    std::string on_the_way(static_cast<std::size_t>(depth), 'x');

    if (depth == 0)
        throw value;
    throw_deep(depth - 1, value);
    CHECK(on_the_way.empty());
}

// The caught exception stays current over parks, and can be thrown again.
void park_in_catch(int mine)
{
    for (int i = 0; i < rounds; i++) {
        const int value = mine * rounds + i;
        try {
            try {
                throw_deep(20, value);
            } catch (int caught) {
                wander(i);
                CHECK_EQ(caught, value);
                CHECK(std::current_exception() != nullptr);
                wander(i + 1);
                throw;
            }
        } catch (int again) {
            CHECK_EQ(again, value);
        }
        CHECK(std::current_exception() == nullptr);
        CHECK_EQ(std::uncaught_exceptions(), 0);
    }
}

// An exception within the handling of another, with parks in both.
void nest(int mine)
{
    for (int i = 0; i < rounds; i++) {
        const std::string outer = "outer " + std::to_string(mine + i);
        try {
            throw std::runtime_error(outer);
        } catch (const std::exception &first) {
            wander(i);
            try {
                throw_deep(3, i);
            } catch (int second) {
                wander(i + 3);
                CHECK_EQ(second, i);
            }
            wander(i + 2);
            CHECK(first.what() == outer);
            try {
                std::rethrow_exception(std::current_exception());
            } catch (const std::runtime_error &same) {
                CHECK(same.what() == outer);
            }
        }
    }
}

// Parks while an exception is on its way: only this goroutine has one.
struct ParksInDestructor {
    int i;

    ~ParksInDestructor()
    {
        CHECK_EQ(std::uncaught_exceptions(), 1);
        wander(i);
        CHECK_EQ(std::uncaught_exceptions(), 1);
        try {
            throw_deep(2, i);
        } catch (int value) {
            wander(i + 1);
            CHECK_EQ(value, i);
        }
        CHECK_EQ(std::uncaught_exceptions(), 1);
    }
};

void park_while_unwinding(int mine)
{
    for (int i = 0; i < rounds; i++) {
        CHECK_EQ(std::uncaught_exceptions(), 0);
        try {
            ParksInDestructor parks{i};
            throw_deep(1, mine);
        } catch (int value) {
            CHECK_EQ(value, mine);
        }
    }
}

void calm(int)
{
    for (int i = 0; i < rounds; i++) {
        gmp_yield();
        CHECK_EQ(std::uncaught_exceptions(), 0);
        CHECK(std::current_exception() == nullptr);
    }
}

void work(void *arg)
{
    static void (*const jobs[])(int) = {park_in_catch, nest,
                                        park_while_unwinding, calm};
    const int mine = static_cast<int>(reinterpret_cast<std::intptr_t>(arg));

    jobs[mine % 4](mine);
    CHECK_OK(gmp_waitgroup_done(&group));
}

} // namespace

int test_main(int, char **)
{
    CHECK_OK(starts_early.started);
    CHECK_OK(gmp_join(starts_early.g));
    CHECK_EQ(early.load(), 1);

    chan = gmp_chan_make(sizeof(int), workers);
    CHECK_OK(gmp_waitgroup_add(&group, workers));
    for (std::intptr_t i = 0; i < workers; i++)
        CHECK_OK(gmp_go(work, reinterpret_cast<void *>(i)));
    CHECK_OK(gmp_waitgroup_wait(&group));
    gmp_chan_unref(chan);
    carry_strings();
    return 0;
}
