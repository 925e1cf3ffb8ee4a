// Panics that nobody recovers, and unwindings that have no good end.
// Usage: crash_panic CASE.
#include "test.h"

#include <atomic>
#include <csetjmp>
#include <cstring>
#include <stdexcept>
#include <thread>

extern "C" void bare_call(gmp_fn fn, void *arg);

// A frame without unwind tables.
__asm__(".text\n"
        ".globl bare_call\n"
        ".hidden bare_call\n"
        ".type bare_call, @function\n"
        "bare_call:\n"
        "    pushq %rbx\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    call *%rax\n"
        "    popq %rbx\n"
        "    ret\n"
        ".size bare_call, . - bare_call\n");

namespace {

void recovers(void *)
{
    gmp_recover();
}

void defer(gmp_fn fn, const char *text = "")
{
    CHECK_OK(gmp_defer(fn, const_cast<char *>(text)));
}

void says(void *text)
{
    puts(static_cast<char *>(text));
    fflush(stdout);
}

extern "C" __attribute__((noinline)) void panics(void *text)
{
    /* dies here: panics */
    gmp_panic("%s", static_cast<char *>(text));
}

void ends(void *)
{
    gmp_exit();
}

// --- Not recovered ----------------------------------------------------------

void plain(void *)
{
    defer(says, "deferred");
    panics(const_cast<char *>("the text"));
}

void plain_in_a_call(void *)
{
    defer(says, "outer");
    gmp_call(plain, nullptr, nullptr);
}

void two_calls(void *)
{
    gmp_call(plain_in_a_call, nullptr, nullptr);
}

void helper_recovers(void *)
{
    volatile int frame = 1;
    // Called by the deferred function, it recovers nothing.
    static void (*volatile helper)(void *) = [](void *) {
        volatile bool found = gmp_recover() != nullptr;

        CHECK(!found);
    };

    helper(nullptr);
    frame = frame + 1;
}

void by_a_helper(void *)
{
    defer(helper_recovers);
    panics(const_cast<char *>("not its own"));
}

void panics_again(void *)
{
    CHECK(gmp_recover() != nullptr);
    gmp_panic("third\nwith two lines");
}

void chain(void *)
{
    defer(panics_again);
    defer(panics, "second");
    panics(const_cast<char *>("first"));
}

void value(void *)
{
    gmp_panic_with(reinterpret_cast<void *>(0x1234));
}

void exits_and_panics(void *)
{
    defer(panics, "during the exit");
    gmp_exit();
}

int unlockf(gmp_g *, void *)
{
    gmp_panic("in an unlockf");
}

void in_unlockf(void *)
{
    defer(recovers);
    gmp_park(unlockf, nullptr, nullptr);
}

void element(void *)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    int n = 1;

    defer(recovers);
    attr.elem_size = sizeof n;
    attr.capacity = 1;
    attr.destroy = [](void *) { gmp_panic("in an element's function"); };
    gmp_chan *ch = gmp_chan_make_with(&attr);
    CHECK_OK(gmp_chan_send(ch, &n));
    gmp_chan_recv(ch, nullptr);
}

void in_destructor(void *)
{
    CHECK_OK(gmp_setspecific(gmp_key_create(panics),
                             const_cast<char *>("in a destructor")));
}

int member(void *)
{
    panics(const_cast<char *>("a member"));
    return 0;
}

void group(void *)
{
    gmp_group *g = gmp_group_make();

    gmp_group_go(g, member, nullptr);
    gmp_group_wait(g);
}

int main_that_panics(int, char **)
{
    panics(const_cast<char *>("main"));
    return 0;
}

// main returns while deferred functions of a panic run.
std::atomic<bool> panicking;

void slow(void *)
{
    panicking = true;
    block_ns(MS(30));
}

void slowly(void *)
{
    defer(slow);
    panics(const_cast<char *>("slowly"));
}

// --- No good end ------------------------------------------------------------

void swallows(gmp_fn leave)
{
    try {
        leave(const_cast<char *>("swallowed"));
    } catch (...) {
    }
    puts("it went on");
}

void no_except(gmp_fn leave) noexcept
{
    leave(const_cast<char *>("noexcept"));
}

void panic_over(void (*frame)(gmp_fn))
{
    static void (*over)(gmp_fn);

    over = frame;
    gmp_call([](void *) {
        defer(recovers);
        over(panics);
    }, nullptr, nullptr);
}

void bare(gmp_fn leave)
{
    bare_call(leave, const_cast<char *>("bare"));
}

struct Panics {
    ~Panics() { gmp_panic("in a destructor"); }
};

void destructor_panics(gmp_fn leave)
{
    Panics object;

    leave(const_cast<char *>("deep"));
}

void throws(void *)
{
    throw std::runtime_error("the reason");
}

void deferred_throws(void *)
{
    try {
        gmp_call([](void *) { defer(throws); }, nullptr, nullptr);
    } catch (...) {
        _exit(3);
    }
}

void deferred_of_panic_throws(void *)
{
    try {
        gmp_call([](void *) {
            defer(throws);
            panics(const_cast<char *>("a panic"));
        }, nullptr, nullptr);
    } catch (...) {
        _exit(3);
    }
}

void thread_exits(void *)
{
    gmp_call([](void *) {
        defer(says, "must not be said");
        pthread_exit(nullptr);
    }, nullptr, nullptr);
}

// On a host thread: what recovers belongs to a call that a jump has left.
std::jmp_buf env;

void jumped_over(void *)
{
    if (setjmp(env) == 0)
        gmp_call([](void *) {
            defer(recovers);
            std::longjmp(env, 1);
        }, nullptr, nullptr);
    panics(const_cast<char *>("nobody's"));
}

struct Case {
    const char *name;
    gmp_fn fn;
    bool on_thread;
};

const Case cases[] = {
    {"plain", plain, false},
    {"in_a_call", plain_in_a_call, false},
    {"on_thread", panics, true},
    {"on_thread_in_a_call", two_calls, true},
    {"by_a_helper", by_a_helper, false},
    {"chain", chain, false},
    {"chain_on_thread", [](void *) { gmp_call(chain, nullptr, nullptr); },
     true},
    {"value", value, false},
    {"exit", exits_and_panics, false},
    {"unlockf", in_unlockf, false},
    {"unlockf_thread",
     [](void *) { gmp_call(in_unlockf, nullptr, nullptr); }, true},
    {"element", element, false},
    {"destructor", in_destructor, false},
    {"group", group, false},
    {"timer", [](void *) {
        gmp_timer_start(0, 0, panics, const_cast<char *>("a timer"));
        gmp_sleep(SEC(40));
    }, false},
    {"main", [](void *) { gmp_run_main(0, nullptr, main_that_panics); }, true},
    {"slowly", [](void *) {
        gmp_release(spawn(slowly, nullptr));
        AWAIT(panicking);
    }, true},
    {"main_slowly", [](void *) {
        gmp_run_main(0, nullptr, [](int, char **) {
            gmp_release(spawn(slowly, nullptr));
            AWAIT(panicking);
            return 0;
        });
    }, true},
    {"swallowed", [](void *) { panic_over(swallows); }, false},
    {"swallowed_exit", [](void *) { swallows(ends); }, false},
    {"swallowed_thread", [](void *) { panic_over(swallows); }, true},
    {"noexcept", [](void *) { panic_over(no_except); }, false},
    {"noexcept_exit", [](void *) { no_except(ends); }, false},
    {"bare", [](void *) { panic_over(bare); }, false},
    {"bare_exit", [](void *) { bare(ends); }, false},
    {"bare_thread", [](void *) { panic_over(bare); }, true},
    {"destructor_panics", [](void *) { panic_over(destructor_panics); }, false},
    {"deferred_throws", deferred_throws, false},
    {"deferred_of_panic_throws", deferred_of_panic_throws, false},
    {"thread_exits", thread_exits, false},
    {"jumped_over", jumped_over, true},
};

} // namespace

int test_main(int argc, char **argv)
{
    static char text[] = "the text";
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    attr.name = "mortal";
    for (auto &c : cases) {
        if (argc < 2 || std::strcmp(c.name, argv[1]) != 0)
            continue;
        if (c.on_thread) {
            c.fn(text);
            return 0;
        }
        CHECK_OK(gmp_go_with(&attr, c.fn, text, &g));
        CHECK_OK(gmp_join(g));
        return 0;
    }
    return 9;
}
