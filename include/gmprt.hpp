// gmprt.hpp - goroutines for C++17 and later, over gmp.h.
//
// Everything here is inline and calls gmp.h alone; a program links the same
// library as one in C. docs/cpp.md introduces it.
//
// Contents:
//   Errors        error codes, exceptions, what a cancel throws
//   Deadlines     spans and points in time of std::chrono
//   Goroutines    go, options, shutdown, this_goroutine, shield, blocking
//   Panics        call: a panic of C code becomes an exception
//   Tasks         task<T>: a goroutine with a result
//   Channels      channel<T>, sender<T>, receiver<T>
//   Coroutines    co<T>: a goroutine without a stack (C++20)
//   Select        wait for several channels
//   Locks         mutex, shared_mutex, recursive_mutex, condition_variable,
//                 semaphore, latch, barrier, wait_group, once_flag
//   Groups        goroutines that fail and end together
//   Storage       local<T>: a value for each goroutine
//   Heap          gc_new, gc_allocator: memory that is freed by collections
//   Descriptors   read, write, accept, dial, descriptor
//
// Conventions:
// - A failure throws: std::bad_alloc for want of memory, gmp::cancelled for a
//   cancel, std::system_error for all else (ESHUTDOWN on a host thread that
//   waits while shutdown() ends the runtime). What a channel or a clock decides
//   is a result and no failure: that a channel is closed, or time is over.
// - Each function that may fail and that blocks has a twin with an argument
//   `std::error_code &ec`, which sets `ec` instead of throwing, clears it after
//   a success, and takes a deadline too. There every result but a success is
//   in `ec`: broken_pipe for a closed channel, timed_out.
// - With -fno-exceptions the functions that throw do not exist, their twins do,
//   and a failure that has no twin (no memory in a constructor, a bug such as
//   an unlock of what is not locked) ends the process with a message.
// - A function blocks where its namesake in gmp.h does. One that blocks throws
//   gmp::cancelled if its goroutine is cancelled, unless the text says that a
//   cancel does not end it. Host threads are never cancelled.
// - Handles (channel, task, descriptor, ...) are like std::shared_ptr or
//   std::unique_ptr: two goroutines may use two handles of one object at the
//   same time, but not change one handle. Everything else may be used by
//   several at the same time. A moved-from handle is empty, as one that is
//   made by its default constructor.
#ifndef GMPRT_GMPRT_HPP
#define GMPRT_GMPRT_HPP

#if __cplusplus < 201703L
#error "gmprt.hpp needs C++17: compile with -std=c++17 or later"
#endif

#include "gmp.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif
#if defined(__cpp_impl_coroutine) && __cplusplus >= 202002L
#define GMPRT_COROUTINES 1
#include <coroutine>
#else
#define GMPRT_COROUTINES 0
#endif
#if defined(__cpp_lib_expected)
#include <expected>
#endif
#if defined(__cpp_exceptions) && defined(__GLIBCXX__)
#include <bits/cxxabi_forced.h>
#endif

// Clang checks locks by these (-Wthread-safety).
#if defined(__clang__)
#define GMPRT_ANNOTATE(x) __attribute__((x))
#else
#define GMPRT_ANNOTATE(x)
#endif
#define GMPRT_CAPABILITY(x) GMPRT_ANNOTATE(capability(x))
#define GMPRT_SCOPED GMPRT_ANNOTATE(scoped_lockable)
#define GMPRT_ACQUIRE(...) GMPRT_ANNOTATE(acquire_capability(__VA_ARGS__))
#define GMPRT_ACQUIRE_SHARED(...) \
    GMPRT_ANNOTATE(acquire_shared_capability(__VA_ARGS__))
#define GMPRT_TRY_ACQUIRE(...) \
    GMPRT_ANNOTATE(try_acquire_capability(__VA_ARGS__))
#define GMPRT_TRY_ACQUIRE_SHARED(...) \
    GMPRT_ANNOTATE(try_acquire_shared_capability(__VA_ARGS__))
#define GMPRT_RELEASE(...) GMPRT_ANNOTATE(release_capability(__VA_ARGS__))
#define GMPRT_RELEASE_SHARED(...) \
    GMPRT_ANNOTATE(release_shared_capability(__VA_ARGS__))
#define GMPRT_RELEASE_GENERIC(...) \
    GMPRT_ANNOTATE(release_generic_capability(__VA_ARGS__))
#define GMPRT_UNCHECKED GMPRT_ANNOTATE(no_thread_safety_analysis)

namespace gmp {

// A file without exceptions has types of its own, so that a program may have
// files of both kinds: where one hands a channel to the other, it does not
// link.
#if defined(__cpp_exceptions)
#define GMPRT_EXCEPTIONS 1
inline namespace v0 {
#else
#define GMPRT_EXCEPTIONS 0
inline namespace v0_noexcept {
#endif

// --- Errors ------------------------------------------------------------------

namespace detail {

class category : public std::error_category {
public:
    const char *name() const noexcept override { return "gmp"; }
    std::string message(int code) const override { return gmp_strerror(code); }
    std::error_condition
    default_error_condition(int code) const noexcept override
    {
        return std::error_condition(code, std::generic_category());
    }
};

} // namespace detail

/// The category of this header's error codes. Their values are those of errno,
/// so they compare equal to std::errc: broken_pipe is a closed channel,
/// timed_out a deadline, operation_canceled a cancel.
inline const std::error_category &error_category() noexcept
{
    static const detail::category only;
    return only;
}

/// The error code for what a function of gmp.h has returned: none unless that
/// is a negative errno.
inline std::error_code error(std::int64_t result) noexcept
{
    return result < 0
               ? std::error_code(static_cast<int>(-result), error_category())
               : std::error_code();
}

#if GMPRT_EXCEPTIONS
/// What a call that blocks throws on a goroutine that is cancelled, and each
/// later one too. Let it pass: at the end of the goroutine's function it is
/// caught. It is no std::exception, so that handlers which log an error and go
/// on do not catch it; one that does (catch (...)) throws it again.
class cancelled {
public:
    const char *what() const noexcept { return "gmp::cancelled"; }
};
#endif

namespace detail {

[[noreturn]] inline void fatal(const char *what, int code) noexcept
{
    std::fprintf(stderr, "%s: %s\n", what, gmp_strerror(code));
    std::abort();
}

// Throws what belongs to a negative errno.
[[noreturn]] inline void raise(std::int64_t code, const char *what)
{
#if GMPRT_EXCEPTIONS
    if (code == -ECANCELED)
        throw cancelled();
    if (code == -ENOMEM)
        throw std::bad_alloc();
    throw std::system_error(error(code), what);
#else
    fatal(what, static_cast<int>(code));
#endif
}

} // namespace detail

#if GMPRT_EXCEPTIONS
/// Returns the result of a function of gmp.h, and throws if that is a negative
/// errno: check(gmp_fsync(fd), "save").
template <class T> T check(T result, const char *what = "gmp")
{
    if (result < 0)
        detail::raise(result, what);
    return result;
}
#endif

// --- Deadlines ---------------------------------------------------------------

namespace detail {

// Nanoseconds of a span, rounded up; the longest there are for a longer one.
template <class Rep, class Period>
std::int64_t span_ns(const std::chrono::duration<Rep, Period> &span)
{
    using std::chrono::nanoseconds;
    using approximate = std::chrono::duration<double, std::nano>;

    if (!(span > span.zero()))
        return 0;
    if (approximate(span).count() >= 9.2e18)
        return INT64_MAX;
    return std::chrono::ceil<nanoseconds>(span).count();
}

template <class Clock, class Span>
std::int64_t deadline_ns(const std::chrono::time_point<Clock, Span> &point)
{
    using seconds = std::chrono::duration<double>;

    if (point == point.max())
        return GMP_FOREVER;
    const auto now = Clock::now();
    if (!(now < point))
        return 0; // in the past
    if (seconds(point.time_since_epoch()) - seconds(now.time_since_epoch()) >
        seconds(9.2e9))
        return GMP_FOREVER;
    return gmp_after_ns(detail::span_ns(point - now));
}

// Calls wait(deadline) until it has another result than -ETIMEDOUT, or the
// clock shows the point: a clock that is not steady may have been set back.
template <class Clock, class Span, class Wait>
auto wait_until(const std::chrono::time_point<Clock, Span> &point, Wait wait)
{
    for (;;) {
        const auto result = wait(deadline_ns(point));
        if (result != -ETIMEDOUT || !(Clock::now() < point))
            return result;
    }
}

} // namespace detail

/// When a call gives up: after a span, at a point in time of any clock, or
/// never. A function that takes a deadline takes the three themselves:
/// read(fd, buffer, 5s).
class deadline {
public:
    /// Never.
    constexpr deadline() noexcept = default;

    /// A span from now.
    template <class Rep, class Period>
    deadline(const std::chrono::duration<Rep, Period> &span)
        : ns_(gmp_after_ns(detail::span_ns(span)))
    {
    }

    /// A point in time. If its clock is set afterwards, the deadline stays.
    template <class Clock, class Span>
    deadline(const std::chrono::time_point<Clock, Span> &point)
        : ns_(detail::deadline_ns(point))
    {
    }

    /// The deadline as functions of gmp.h take it.
    constexpr std::int64_t ns() const noexcept { return ns_; }

private:
    std::int64_t ns_ = GMP_FOREVER;
};

// --- Goroutines --------------------------------------------------------------

/// Whether the bytes of a T may be copied to another place and be the T there,
/// if the old place is then forgotten. Such functions and elements travel
/// fastest. Declare it of a type of yours by a specialisation.
template <class T, class = void>
struct is_trivially_relocatable
    : std::bool_constant<std::is_trivially_move_constructible_v<T> &&
                         std::is_trivially_destructible_v<T>> {};
template <class T>
struct is_trivially_relocatable<std::unique_ptr<T>> : std::true_type {};
template <class T>
struct is_trivially_relocatable<std::shared_ptr<T>> : std::true_type {};
template <class T>
struct is_trivially_relocatable<std::weak_ptr<T>> : std::true_type {};

namespace detail {

template <class T> struct same {
    using type = T;
};
// A T that is not deduced.
template <class T> using same_t = typename same<T>::type;

// Room for a T, which begins and ends when its user says so.
template <class T> union slot {
    slot() noexcept {}
    ~slot() {}
    slot(const slot &) = delete;
    slot &operator=(const slot &) = delete;

    template <class... Args> void make(Args &&...args)
    {
        ::new (static_cast<void *>(std::addressof(value)))
            T(std::forward<Args>(args)...);
    }
    void end() noexcept { value.~T(); }
    void *at() noexcept { return std::addressof(value); }

    T value;
};

// A function with its arguments, all of them copies.
template <class F, class... Args> class bound {
public:
    template <class G, class... Given>
    explicit bound(G &&f, Given &&...args)
        : f_(std::forward<G>(f)), args_(std::forward<Given>(args)...)
    {
    }

    decltype(auto)
    operator()() noexcept(std::is_nothrow_invocable_v<F, Args...>)
    {
        return std::apply(
            [this](auto &...args) -> decltype(auto) {
                return std::invoke(std::move(f_), std::move(args)...);
            },
            args_);
    }

private:
    F f_;
    std::tuple<Args...> args_;
};

// One without arguments is itself.
template <class F> class bound<F> {
public:
    template <class G> explicit bound(G &&f) : f_(std::forward<G>(f)) {}

    decltype(auto) operator()() noexcept(std::is_nothrow_invocable_v<F>)
    {
        return std::invoke(std::move(f_));
    }

private:
    F f_;
};

} // namespace detail

template <class F, class... Args>
struct is_trivially_relocatable<detail::bound<F, Args...>>
    : std::conjunction<is_trivially_relocatable<F>,
                       is_trivially_relocatable<Args>...> {};

namespace detail {

template <class F, class... Args>
using bound_t = bound<std::decay_t<F>, std::decay_t<Args>...>;

template <class F, class... Args>
constexpr bool callable =
    std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>;

// Base of what the kit copies for a goroutine: collections look into it. Memory
// for what is aligned to more is plain, and they do not.
struct kept {
    static void *operator new(std::size_t size)
    {
        void *const at = gmp_kept_malloc(size);
        if (!at)
            raise(-ENOMEM, "gmp");
        return at;
    }
    static void *operator new(std::size_t size, const std::nothrow_t &) noexcept
    {
        return gmp_kept_malloc(size);
    }
    static void *operator new(std::size_t size, std::align_val_t align)
    {
        return ::operator new(size, align);
    }
    static void *operator new(std::size_t size, std::align_val_t align,
                              const std::nothrow_t &) noexcept
    {
        return ::operator new(size, align, std::nothrow);
    }
    static void operator delete(void *at) noexcept { gmp_kept_free(at); }
    static void operator delete(void *at, const std::nothrow_t &) noexcept
    {
        gmp_kept_free(at);
    }
    static void operator delete(void *at, std::align_val_t align) noexcept
    {
        ::operator delete(at, align);
    }
    static void operator delete(void *at, std::align_val_t align,
                                const std::nothrow_t &) noexcept
    {
        ::operator delete(at, align);
    }
};

// A T in such memory.
template <class T> struct kept_box : kept {
    template <class... Args>
    explicit kept_box(std::in_place_t, Args &&...args)
        : value(std::forward<Args>(args)...)
    {
    }
    // What a function makes, in place.
    template <class Make>
    explicit kept_box(Make &make) : value(make())
    {
    }

    T value;
};

// Whether an F fits into the argument of a goroutine's function.
template <class F>
constexpr bool fits_word =
    is_trivially_relocatable<F>::value && sizeof(F) <= sizeof(void *) &&
    alignof(F) <= alignof(void *);

// Whether an F may be copied onto the new goroutine's stack.
template <class F>
constexpr bool fits_stack =
    is_trivially_relocatable<F>::value && sizeof(F) <= 1024 && alignof(F) <= 16;

// An F as the argument of a goroutine's function. What an F leaves out of the
// bytes is zero.
template <class F> union word {
    word() noexcept : bits(nullptr) {}
    explicit word(void *argument) noexcept : bits(argument) {}
    ~word() {}
    word(const word &) = delete;
    word &operator=(const word &) = delete;

    template <class... Args> void make(Args &&...args)
    {
        ::new (static_cast<void *>(std::addressof(value)))
            F(std::forward<Args>(args)...);
    }
    void end() noexcept { value.~F(); }
    // The F is forgotten.
    void *argument() const noexcept
    {
        void *copy;
        std::memcpy(&copy, this, sizeof copy);
        return copy;
    }

    void *bits;
    F value;
};

// Ends the F in a slot or word at the end of the scope.
template <class Slot> struct ends {
    Slot &f;
    explicit ends(Slot &slot) noexcept : f(slot) {}
    ends(const ends &) = delete;
    ends &operator=(const ends &) = delete;
    ~ends() { f.end(); }
};

// Calls f on a goroutine of its own. A cancel ends it silently. Any other
// exception has no handler, so the report of it shows where it was thrown.
template <class F> void run_detached(F &f)
{
#if GMPRT_EXCEPTIONS
    if constexpr (!noexcept(f())) {
        try {
            f();
        } catch (const cancelled &) {
        }
        return;
    }
#endif
    f();
}

template <class F> void run_word(void *argument)
{
    word<F> f(argument);
    const ends end(f);
    detail::run_detached(f.value);
}

template <class F> void run_copy(void *copy)
{
    auto &f = *static_cast<slot<F> *>(copy);
    const ends end(f);
    detail::run_detached(f.value);
}

template <class F> void run_box(void *box)
{
    std::unique_ptr<kept_box<F>> f(static_cast<kept_box<F> *>(box));
    detail::run_detached(f->value);
}

// Starts a goroutine that calls an F made of `args`, and ends it.
template <class F, class... Args>
int start_detached(const gmp_attr *attr, Args &&...args)
{
    int rc;

    if constexpr (fits_word<F>) {
        word<F> f;
        f.make(std::forward<Args>(args)...);
        rc = attr ? gmp_go_with(attr, run_word<F>, f.argument(), nullptr)
                  : gmp_go(run_word<F>, f.argument());
        if (rc != 0)
            f.end();
        return rc;
    } else if constexpr (fits_stack<F>) {
        if (!attr) {
            slot<F> f;
            f.make(std::forward<Args>(args)...);
            rc = gmp_go_copy(run_copy<F>, f.at(), sizeof(F));
            if (rc != 0)
                f.end();
            return rc;
        }
    }
    const auto box = new (std::nothrow)
        kept_box<F>(std::in_place, std::forward<Args>(args)...);
    if (!box)
        return -ENOMEM;
    rc = gmp_go_with(attr, run_box<F>, box, nullptr);
    if (rc != 0)
        delete box;
    return rc;
}

} // namespace detail

/// How to start a goroutine: options().name("reader").stack_size(1 << 20).
class options {
public:
    options() noexcept = default;

    /// The name in dumps and reports, which is copied at the start.
    options &name(const char *text) noexcept
    {
        attr_.name = text;
        return *this;
    }
    options &name(const std::string &text) noexcept
    {
        return name(text.c_str());
    }
    /// Bytes of stack; 0 for the default.
    options &stack_size(std::size_t bytes) noexcept
    {
        attr_.stack_size = bytes;
        return *this;
    }
    /// Locks the goroutine to its thread, from its start.
    options &locked_thread() noexcept
    {
        attr_.flags |= GMP_LOCKED_THREAD;
        return *this;
    }
    /// The same for functions of gmp.h.
    const gmp_attr &attr() const noexcept { return attr_; }

private:
    gmp_attr attr_ = GMP_ATTR_INIT;
};

template <class T> class co;

namespace detail {

// Whether an F is a co<T>, and its T.
template <class F> struct coroutine_of {
    static constexpr bool is = false;
};
template <class T> struct coroutine_of<co<T>> {
    static constexpr bool is = true;
    using type = T;
};
template <class F, class... Args>
constexpr bool is_coroutine =
    sizeof...(Args) == 0 && coroutine_of<std::decay_t<F>>::is;

template <class T> int start_co(const gmp_attr *attr, co<T> &made);
#if GMPRT_COROUTINES
template <class T> class join_wait;
template <class T> class ec_join_wait;
template <class T> class send_wait;
template <class T> class ec_send_wait;
template <class T> class recv_wait;
template <class T> class ec_recv_wait;
template <class T> class timed_recv_wait;
#endif

template <class F>
constexpr bool is_function =
    !std::is_same_v<std::decay_t<F>, options> &&
    !std::is_same_v<std::remove_reference_t<F>, std::error_code>;

template <class F, class... Args>
int go(const gmp_attr *attr, F &&f, Args &&...args)
{
    static_assert(callable<F, Args...> || is_coroutine<F, Args...>,
                  "gmp::go: the function cannot be called with copies of "
                  "these arguments; std::ref passes a reference");
    if constexpr (is_coroutine<F, Args...>)
        return start_co(attr, f);
    else if constexpr (callable<F, Args...>)
        return start_detached<bound_t<F, Args...>>(attr, std::forward<F>(f),
                                                   std::forward<Args>(args)...);
    else
        return 0;
}

inline void started(int rc, const char *what)
{
    if (rc != 0)
        raise(rc, what);
}

} // namespace detail

/// Starts a goroutine that calls f(args...) with copies of f and args, as
/// std::thread does. f's result is dropped. If gmp::cancelled leaves f, the
/// goroutine ends; any other exception is uncaught and ends the process, as on
/// a thread. A small f that is_trivially_relocatable costs no allocation.
/// Never blocks.
template <class F, class... Args,
          std::enable_if_t<detail::is_function<F>, int> = 0>
void go(F &&f, Args &&...args)
{
    detail::started(
        detail::go(nullptr, std::forward<F>(f), std::forward<Args>(args)...),
        "gmp::go");
}

/// The same, with options.
template <class F, class... Args>
void go(const options &how, F &&f, Args &&...args)
{
    detail::started(detail::go(&how.attr(), std::forward<F>(f),
                               std::forward<Args>(args)...),
                    "gmp::go");
}

/// The same; sets `ec` instead of throwing. (It comes first, because arguments
/// of f follow.)
template <class F, class... Args>
void go(std::error_code &ec, F &&f, Args &&...args)
{
    ec = error(
        detail::go(nullptr, std::forward<F>(f), std::forward<Args>(args)...));
}

/// Ends the runtime, as gmp_shutdown: cancels all goroutines, waits for them,
/// and gives back all that the library has taken from the process. Waits of
/// host threads end with std::system_error (ESHUTDOWN); the results of tasks
/// can be joined afterwards. Not on a goroutine.
inline void shutdown(std::error_code &ec, deadline until = {}) noexcept
{
    ec = error(gmp_shutdown(until.ns()));
}
#if GMPRT_EXCEPTIONS
inline void shutdown(deadline until = {})
{
    check(gmp_shutdown(until.ns()), "gmp::shutdown");
}
#endif

/// The goroutine, or host thread, that calls.
namespace this_goroutine {

/// Its number, which no other one ever has; 0 on a host thread that has never
/// blocked in a call of the library.
inline std::uint64_t id() noexcept
{
    return gmp_goid();
}

/// Its name; an empty string if it has none.
inline std::string name()
{
    std::string text(32, '\0');
    int rc;

    while ((rc = gmp_get_name(gmp_self(), text.data(), text.size())) == -ERANGE)
        text.resize(2 * text.size());
    text.resize(rc == 0 ? std::strlen(text.c_str()) : 0);
    return text;
}

/// Names it. False on a host thread, and without memory.
inline bool set_name(const char *text) noexcept
{
    return gmp_set_name(text) == 0;
}
inline bool set_name(const std::string &text) noexcept
{
    return set_name(text.c_str());
}

/// Lets other goroutines run.
inline void yield() noexcept
{
    gmp_yield();
}

/// Yields if the scheduler has asked for it: call it in long loops.
inline void checkpoint() noexcept
{
    gmp_checkpoint();
}

/// Whether it is cancelled, also behind a shield.
inline bool is_cancelled() noexcept
{
    return gmp_cancelled();
}

} // namespace this_goroutine

/// Sleeps for a span, or until a point in time of any clock.
template <class Rep, class Period>
void sleep_for(const std::chrono::duration<Rep, Period> &span,
               std::error_code &ec)
{
    ec = error(gmp_sleep(detail::span_ns(span)));
}

template <class Clock, class Span>
void sleep_until(const std::chrono::time_point<Clock, Span> &point,
                 std::error_code &ec)
{
    int rc = 0;

    while (rc == 0 && Clock::now() < point)
        rc = gmp_sleep_until(detail::deadline_ns(point));
    ec = error(rc);
}

#if GMPRT_EXCEPTIONS
template <class Rep, class Period>
void sleep_for(const std::chrono::duration<Rep, Period> &span)
{
    check(gmp_sleep(detail::span_ns(span)), "gmp::sleep_for");
}

template <class Clock, class Span>
void sleep_until(const std::chrono::time_point<Clock, Span> &point)
{
    while (Clock::now() < point)
        check(gmp_sleep_until(detail::deadline_ns(point)), "gmp::sleep_until");
}
#endif

/// While it lives, a cancel does not interrupt the calling goroutine: for
/// clean-up that has to wait, above all in destructors.
class [[nodiscard]] shield {
public:
    shield()
    {
        const int rc = gmp_shield_enter();
        if (rc != 0)
            detail::raise(rc, "gmp::shield");
    }
    ~shield() { gmp_shield_leave(); }
    shield(const shield &) = delete;
    shield &operator=(const shield &) = delete;
};

/// While it lives, the calling goroutine stays on its thread and has it alone.
class [[nodiscard]] thread_lock {
public:
    thread_lock()
    {
        const int rc = gmp_lock_os_thread();
        if (rc != 0)
            detail::raise(rc, "gmp::thread_lock");
    }
    ~thread_lock() { gmp_unlock_os_thread(); }
    thread_lock(const thread_lock &) = delete;
    thread_lock &operator=(const thread_lock &) = delete;
};

namespace detail {

// A call of f, whose result is kept.
template <class F, class R> struct kept_call {
    F &f;
    std::optional<R> result;
    static void run(void *self)
    {
        auto &call = *static_cast<kept_call *>(self);
        call.result.emplace(std::forward<F>(call.f)());
    }
};

template <class F> struct kept_call<F, void> {
    F &f;
    static void run(void *self)
    {
        std::forward<F>(static_cast<kept_call *>(self)->f)();
    }
};

} // namespace detail

/// Calls f(), which may wait or compute for any time outside the library: other
/// goroutines run at once. Sets `ec`, and does not call f, if the caller is
/// cancelled. An exception of f's goes on to the caller. Returns nothing if f
/// returns nothing, else an optional with f's result.
template <class F> auto blocking(F &&f, std::error_code &ec)
{
    using R = std::invoke_result_t<F>;
    static_assert(!std::is_reference_v<R>,
                  "gmp::blocking: the function returns a reference; return a "
                  "value or a pointer");
    if constexpr (std::is_void_v<R>) {
        detail::kept_call<F, void> call{f};
        ec = error(gmp_blocking(call.run, &call));
    } else {
        detail::kept_call<F, R> call{f, std::nullopt};
        ec = error(gmp_blocking(call.run, &call));
        return std::move(call.result);
    }
}

#if GMPRT_EXCEPTIONS
/// The same; returns f's result.
template <class F> std::invoke_result_t<F> blocking(F &&f)
{
    using R = std::invoke_result_t<F>;
    static_assert(!std::is_reference_v<R>,
                  "gmp::blocking: the function returns a reference; return a "
                  "value or a pointer");
    if constexpr (std::is_void_v<R>) {
        detail::kept_call<F, void> call{f};
        check(gmp_blocking(call.run, &call), "gmp::blocking");
    } else {
        detail::kept_call<F, R> call{f, std::nullopt};
        check(gmp_blocking(call.run, &call), "gmp::blocking");
        return std::move(*call.result);
    }
}
#endif

// --- Panics ------------------------------------------------------------------

/// A panic that call() has stopped, as an exception: what() is its text.
class panicked : public std::runtime_error {
public:
    explicit panicked(const gmp_panic_info &info)
        : std::runtime_error(info.text), value_(info.value), id_(info.goid)
    {
    }

    /// The value of gmp_panic_with; null if the panic has a text alone.
    void *value() const noexcept { return value_; }
    /// The id() of the goroutine or host thread that has panicked.
    std::uint64_t id() const noexcept { return id_; }

private:
    void *value_;
    std::uint64_t id_;
};

/// Panics, as gmp_panic: what was deferred runs, and the process ends unless a
/// call() or a deferred function stops it. For an error that a caller may want
/// to handle throw an exception instead.
[[noreturn]] inline void panic(const char *text)
{
    gmp_panic("%s", text);
}
[[noreturn]] inline void panic(const std::string &text)
{
    panic(text.c_str());
}

namespace detail {

// A call of f that a panic does not leave.
template <class F> struct guarded_call {
    F &f;
    int rc = 0;
    bool stopped = false;

    static void run(void *self)
    {
        auto &call = *static_cast<guarded_call *>(self);
        call.rc = gmp_defer(stop, self);
        if (call.rc == 0)
            call.f();
    }
    // Deferred first, so it runs last. It has to call gmp_recover itself.
    static void stop(void *self)
    {
        static_cast<guarded_call *>(self)->stopped = gmp_recover() != nullptr;
    }
};

// Calls f; the panic that has left it, if one has.
template <class F> std::optional<panicked> panic_of(F &&f)
{
    guarded_call<F> call{f};
    gmp_panic_info info = GMP_PANIC_INFO_INIT;
    int rc = gmp_call(call.run, &call, &info);
    if (rc == 1)
        return std::optional<panicked>(std::in_place, info);
    if (rc == 0)
        rc = call.rc;
    if (rc != 0)
        raise(rc, "gmp::call");
    return std::nullopt;
}

} // namespace detail

/// Calls f(args...), as gmp_call does: what is deferred inside runs when f is
/// left, and a panic that leaves f is stopped, after that. It sets `panic` to
/// it, and clears `panic` if there was none; a panic that a function which f
/// has deferred has stopped counts as one. An exception of f's goes on to the
/// caller. Returns nothing if f returns nothing, else an optional with f's
/// result.
template <class F, class... Args>
auto call(std::optional<panicked> &panic, F &&f, Args &&...args)
{
    static_assert(std::is_invocable_v<F, Args...>,
                  "gmp::call: the function cannot be called with these "
                  "arguments");
    if constexpr (std::is_invocable_v<F, Args...>) {
        using R = std::invoke_result_t<F, Args...>;
        static_assert(!std::is_reference_v<R>,
                      "gmp::call: the function returns a reference; return a "
                      "value or a pointer");
        const auto invoke = [&]() -> R {
            return std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
        };
        if constexpr (std::is_void_v<R>) {
            panic = detail::panic_of(invoke);
        } else {
            std::optional<R> result;
            panic = detail::panic_of([&] { result.emplace(invoke()); });
            return result;
        }
    }
}

#if GMPRT_EXCEPTIONS
/// The same; throws the panic, and returns f's result.
///
///     try {
///         gmp::call(parse_in_c, &text);
///     } catch (const gmp::panicked &p) {
///         std::cerr << p.what() << '\n';
///     }
template <class F, class... Args,
          std::enable_if_t<!std::is_same_v<std::decay_t<F>,
                                           std::optional<panicked>>,
                           int> = 0>
auto call(F &&f, Args &&...args)
{
    std::optional<panicked> panic;
    if constexpr (std::is_void_v<decltype(call(panic, std::forward<F>(f),
                                               std::forward<Args>(args)...))>) {
        call(panic, std::forward<F>(f), std::forward<Args>(args)...);
        if (panic)
            throw *panic;
    } else {
        auto result =
            call(panic, std::forward<F>(f), std::forward<Args>(args)...);
        if (panic)
            throw *panic;
        return std::move(*result);
    }
}
#endif

// --- Tasks -------------------------------------------------------------------

namespace detail {

#if GMPRT_EXCEPTIONS
// How a goroutine has failed.
struct failure {
    gmp_g *g = gmp_self();
    std::exception_ptr error; // null: it was cancelled
    std::string name;
    failure *next = nullptr;
};

// In a handler: what is handled, or null for a cancel.
inline std::unique_ptr<failure> make_failure(std::exception_ptr error)
{
    auto made = std::make_unique<failure>();
    made->error = std::move(error);
    made->name = this_goroutine::name();
    if (made->name.empty())
        made->name = "goroutine " + std::to_string(this_goroutine::id());
    return made;
}

// The failures of goroutines whose tasks have no state. A goroutine that ends
// well does not come here; and who has joined it looks at the count only.
class failures {
public:
    void put(std::unique_ptr<failure> failed) noexcept
    {
        failure *const f = failed.release();
        gmp_mutex_lock(&lock_);
        f->next = first_;
        first_ = f;
        gmp_mutex_unlock(&lock_);
        // The join makes it visible.
        count_.fetch_add(1, std::memory_order_relaxed);
    }

    bool none() const noexcept
    {
        return count_.load(std::memory_order_relaxed) == 0;
    }

    std::unique_ptr<failure> take(gmp_g *g) noexcept
    {
        std::unique_ptr<failure> found;
        if (none())
            return found;
        gmp_mutex_lock(&lock_);
        for (failure **at = &first_; *at; at = &(*at)->next)
            if ((*at)->g == g) {
                found.reset(*at);
                *at = found->next;
                count_.fetch_sub(1, std::memory_order_relaxed);
                break;
            }
        gmp_mutex_unlock(&lock_);
        return found;
    }

    static failures &all() noexcept
    {
        static failures only;
        return only;
    }

private:
    gmp_mutex lock_ = GMP_MUTEX_INIT;
    failure *first_ = nullptr;
    std::atomic<std::size_t> count_{0};
};

// What a goroutine has been thrown by a join or a group last.
struct rethrown {
    std::exception_ptr error;
    std::string name;

    static void end(void *self) { delete static_cast<rethrown *>(self); }
    static gmp_key *key()
    {
        static gmp_key *const only = gmp_key_create(end);
        return only;
    }
};

[[noreturn]] inline void rethrow(failure &f)
{
    auto *last = static_cast<rethrown *>(gmp_getspecific(rethrown::key()));
    if (!last) {
        auto made = std::make_unique<rethrown>();
        if (gmp_setspecific(rethrown::key(), made.get()) == 0)
            last = made.release();
    }
    if (last) {
        last->error = f.error;
        last->name = std::move(f.name);
    }
    std::rethrow_exception(std::move(f.error));
}

// Calls `f`, and returns how that has failed, if it has.
template <class F> std::unique_ptr<failure> failure_of(F &&f)
{
    if constexpr (noexcept(f())) {
        f();
        return nullptr;
    } else {
        try {
            f();
            return nullptr;
        } catch (const cancelled &) {
            return std::make_unique<failure>();
#if defined(__GLIBCXX__)
        } catch (const abi::__forced_unwind &) {
            throw; // the goroutine exits
#endif
        } catch (...) {
            return make_failure(std::current_exception());
        }
    }
}
#else
struct failure {};
template <class F> std::unique_ptr<failure> failure_of(F &&f)
{
    f();
    return nullptr;
}
#endif

// What a task shares with its goroutine, which writes until it ends. Then it is
// the task's.
template <class R> struct task_state : kept {
    task_state() = default;
    task_state(const task_state &) = delete;
    task_state &operator=(const task_state &) = delete;
    virtual ~task_state() = default;
    virtual void request_stop() noexcept {}
    virtual void discard() noexcept { delete this; }

    std::conditional_t<std::is_void_v<R>, bool, std::optional<R>> value{};
    std::unique_ptr<failure> failed;
};

struct discards {
    template <class State> void operator()(State *state) const noexcept
    {
        state->discard();
    }
};

// With the function, which the goroutine ends when it has called it.
template <class R, class F> struct task_call : task_state<R> {
    slot<F> f;

    static void run(void *self)
    {
        constexpr bool safe =
            noexcept(std::declval<F &>()()) &&
            (std::is_void_v<R> || std::is_nothrow_move_constructible_v<R>);
        auto &call = *static_cast<task_call *>(self);
        call.failed = failure_of([&call]() noexcept(safe) {
            const ends end(call.f);
            if constexpr (std::is_void_v<R>) {
                call.f.value();
                call.value = true;
            } else {
                call.value.emplace(call.f.value());
            }
        });
    }
};

#if defined(__cpp_lib_jthread)
// With a stop token for the function.
template <class R, class F> struct stoppable_call : task_call<R, F> {
    std::stop_source source;
    void request_stop() noexcept override { source.request_stop(); }
};

template <class F, class... Args>
constexpr bool wants_token =
    std::is_invocable_v<std::decay_t<F>, std::stop_token,
                        std::decay_t<Args>...>;
#else
template <class F, class... Args> constexpr bool wants_token = false;
#endif

// A task's function that fits a word and has no result: nothing is shared.
template <class F> void run_word_task(void *argument)
{
    word<F> f(argument);
#if GMPRT_EXCEPTIONS
    // An end by gmp_exit destroys it, too.
    struct ending {
        std::unique_ptr<failure> failed;
        bool returned = false;
        ~ending()
        {
            if (!returned)
                failed = std::make_unique<failure>();
            if (failed)
                failures::all().put(std::move(failed));
        }
    } how;
    how.failed = failure_of([&f]() noexcept(noexcept(f.value())) {
        const ends end(f);
        f.value();
    });
    how.returned = true;
#else
    const ends end(f);
    f.value();
#endif
}

template <class F, class... Args> auto result_of()
{
    if constexpr (is_coroutine<F, Args...>)
        return same<typename coroutine_of<std::decay_t<F>>::type>();
    else
#if defined(__cpp_lib_jthread)
    if constexpr (wants_token<F, Args...>)
        return same<std::invoke_result_t<std::decay_t<F>, std::stop_token,
                                         std::decay_t<Args>...>>();
    else
#endif
        if constexpr (callable<F, Args...>)
        return same<
            std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>>();
    else
        return same<void>();
}
template <class T>
using maybe_t = typename std::conditional_t<std::is_void_v<T>, same<void>,
                                            same<std::optional<T>>>::type;

template <class F, class... Args>
using result_of_t = typename decltype(result_of<F, Args...>())::type;

} // namespace detail

/// A goroutine with a result of type T, which may be void. A task belongs to
/// one owner; its destructor cancels the goroutine and waits for its end, and
/// so does an assignment to it. A cancel does not end that wait.
///
///     gmp::task<int> answer([] { return 42; });
///     use(answer.join());
///
/// With C++20, a function whose first parameter is a std::stop_token gets one,
/// as with std::jthread: cancel() requests a stop of it. (A cancel by a
/// group or by gmp_cancel does not.)
template <class T = void> class [[nodiscard]] task {
    static_assert(std::is_void_v<T> ||
                      (std::is_object_v<T> && std::is_move_constructible_v<T>),
                  "gmp::task<T>: T must be void, or a type that can be moved; "
                  "of a reference make a pointer");

public:
    /// No goroutine.
    task() noexcept = default;

    /// Starts a goroutine that calls f(args...) with copies of f and args.
    template <class F, class... Args,
              std::enable_if_t<detail::is_function<F> &&
                                   !std::is_same_v<std::decay_t<F>, task>,
                               int> = 0>
    explicit task(F &&f, Args &&...args)
    {
        detail::started(
            begin(nullptr, std::forward<F>(f), std::forward<Args>(args)...),
            "gmp::task");
    }

    /// The same, with options.
    template <class F, class... Args>
    explicit task(const options &how, F &&f, Args &&...args)
    {
        detail::started(
            begin(&how.attr(), std::forward<F>(f), std::forward<Args>(args)...),
            "gmp::task");
    }

    /// The same; sets `ec` instead of throwing.
    template <class F, class... Args>
    explicit task(std::error_code &ec, F &&f, Args &&...args)
    {
        ec = error(
            begin(nullptr, std::forward<F>(f), std::forward<Args>(args)...));
    }

    task(task &&other) noexcept
        : g_(std::exchange(other.g_, nullptr)),
          state_(std::exchange(other.state_, nullptr))
#if GMPRT_EXCEPTIONS
          ,
          failures_(std::exchange(other.failures_, nullptr))
#endif
    {
    }
    task &operator=(task &&other) noexcept
    {
        if (this != &other) {
            if (g_)
                end();
            g_ = std::exchange(other.g_, nullptr);
            state_ = std::exchange(other.state_, nullptr);
#if GMPRT_EXCEPTIONS
            failures_ = std::exchange(other.failures_, nullptr);
#endif
        }
        return *this;
    }
    ~task()
    {
        if (g_)
            end();
    }

    /// Whether there is a goroutine that was not joined.
    bool joinable() const noexcept { return g_ != nullptr; }

    /// Cancels the goroutine: each of its calls that block throws
    /// gmp::cancelled. Never blocks.
    void cancel() noexcept
    {
        if (!g_)
            return;
        if (state_)
            state_->request_stop();
        gmp_cancel(g_);
    }

    /// The same, by the name that std::jthread has for it.
    void request_stop() noexcept { cancel(); }

    /// Waits until the goroutine has ended, and returns an optional with its
    /// result, or nothing where T is void. Sets `ec` to operation_canceled if
    /// the goroutine was cancelled; if the caller is, too, and then the task
    /// is joinable still, as after timed_out. An exception that has left the
    /// function is thrown.
    detail::maybe_t<T> join(std::error_code &ec, deadline until = {})
    {
        return result(wait_end(until.ns()), ec);
    }

#if GMPRT_EXCEPTIONS
    /// Waits until the goroutine has ended, and returns its result. Throws the
    /// exception that has left its function: thrown_by() tells its name. Throws
    /// std::system_error (operation_canceled) if the goroutine was cancelled,
    /// or has ended by gmp_exit. gmp::cancelled means the caller, and leaves
    /// the task joinable.
    T join()
    {
        return result(wait_end(GMP_FOREVER));
    }
#endif

#if GMPRT_COROUTINES
    /// In a coroutine: co_await t.async_join(ec, until), as join(ec, until).
    [[nodiscard]] detail::ec_join_wait<T> async_join(std::error_code &ec,
                                                     deadline until = {})
    {
        return detail::ec_join_wait<T>(*this, ec, until.ns());
    }
#if GMPRT_EXCEPTIONS
    /// In a coroutine: co_await t.async_join(), or co_await t, as join().
    [[nodiscard]] detail::join_wait<T> async_join()
    {
        return detail::join_wait<T>(*this);
    }
#endif
#endif

#if defined(__cpp_lib_expected)
    /// The same; an error is a result. An exception that has left the function
    /// is thrown.
    std::expected<T, std::error_code> try_join(deadline until = {})
    {
        std::error_code ec;
        if constexpr (std::is_void_v<T>) {
            join(ec, until);
            if (!ec)
                return {};
        } else {
            auto result = join(ec, until);
            if (!ec)
                return std::move(*result);
        }
        return std::unexpected(ec);
    }
#endif

    /// The goroutine, for functions of gmp.h that neither join nor release it;
    /// NULL if there is none.
    gmp_g *native_handle() const noexcept { return g_; }

private:
    struct outcome {
        std::unique_ptr<detail::task_state<T>, detail::discards> state;
        std::unique_ptr<detail::failure> failed;

        // Whether there is no result; throws what has left the function.
        bool ended_early()
        {
#if GMPRT_EXCEPTIONS
            if (failed && failed->error)
                detail::rethrow(*failed);
#endif
            return failed || (state && !state->value);
        }
    };

    // What join() returns once the wait has returned `rc`.
    detail::maybe_t<T> result(int rc, std::error_code &ec)
    {
        ec = error(rc);
        if (rc != 0)
            return detail::maybe_t<T>();
        outcome got = joined();
        if (got.ended_early())
            ec = error(-ECANCELED);
        if constexpr (!std::is_void_v<T>)
            return std::move(got.state->value);
    }

#if GMPRT_EXCEPTIONS
    T result(int rc)
    {
        if (rc != 0)
            detail::raise(rc, "gmp::task::join");
        if constexpr (std::is_void_v<T>)
            if (returned_nothing())
                return;
        outcome got = joined();
        if (got.ended_early())
            throw std::system_error(error(-ECANCELED), "gmp::task::join");
        if constexpr (!std::is_void_v<T>)
            return std::move(*got.state->value);
    }
#endif

#if GMPRT_COROUTINES
    friend class detail::join_wait<T>;
    friend class detail::ec_join_wait<T>;
#endif

    template <class F, class... Args>
    int begin(const gmp_attr *attr, F &&f, Args &&...args)
    {
        static_assert(detail::callable<F, Args...> ||
                          detail::wants_token<F, Args...> ||
                          detail::is_coroutine<F, Args...>,
                      "gmp::task: the function cannot be called with copies "
                      "of these arguments; std::ref passes a reference");
        if constexpr (detail::is_coroutine<F, Args...>) {
            constexpr bool is_result = std::is_same_v<std::decay_t<F>, co<T>>;
            static_assert(is_result,
                          "gmp::task<T>: the coroutine is no gmp::co<T>");
            if constexpr (is_result && !std::is_lvalue_reference_v<F>)
                return begin_co(attr, f);
            static_assert(!std::is_lvalue_reference_v<F>,
                          "gmp::task: std::move the coroutine");
            return -EINVAL;
        } else
#if defined(__cpp_lib_jthread)
            if constexpr (detail::wants_token<F, Args...>) {
            using bound = detail::bound_t<F, std::stop_token, Args...>;
            using call = detail::stoppable_call<T, bound>;
            const auto made = new (std::nothrow) call;
            auto token = made ? made->source.get_token() : std::stop_token();
            return begin_call(attr, made, std::forward<F>(f), std::move(token),
                              std::forward<Args>(args)...);
        } else
#endif
            if constexpr (detail::callable<F, Args...>) {
            using bound = detail::bound_t<F, Args...>;
            constexpr bool is_result =
                std::is_void_v<T> ||
                std::is_convertible_v<std::invoke_result_t<bound &>, T>;
            static_assert(is_result,
                          "gmp::task<T>: the function's result is no T");
            if constexpr (!is_result) {
                return -EINVAL;
            } else if constexpr (std::is_void_v<T> &&
                                 detail::fits_word<bound>) {
                return begin_word<bound>(attr, std::forward<F>(f),
                                         std::forward<Args>(args)...);
            } else {
                using call = detail::task_call<T, bound>;
                const auto made = new (std::nothrow) call;
                return begin_call(attr, made, std::forward<F>(f),
                                  std::forward<Args>(args)...);
            }
        } else {
            return -EINVAL;
        }
    }

    template <class Bound, class... Args>
    int begin_word(const gmp_attr *attr, Args &&...args)
    {
        detail::word<Bound> f;
        f.make(std::forward<Args>(args)...);
        const int rc =
            gmp_go_with(attr, detail::run_word_task<Bound>, f.argument(), &g_);
        if (rc != 0)
            f.end();
#if GMPRT_EXCEPTIONS
        else if constexpr (!noexcept(f.value()))
            failures_ = &detail::failures::all();
#endif
        return rc;
    }

    template <class Call, class... Args>
    int begin_call(const gmp_attr *attr, Call *made, Args &&...args)
    {
        std::unique_ptr<Call> call(made);
        if (!call)
            return -ENOMEM;
        call->f.make(std::forward<Args>(args)...);
        const int rc = gmp_go_with(attr, Call::run, made, &g_);
        if (rc == 0)
            state_ = call.release();
        else
            call->f.end();
        return rc;
    }

    // Defined with co<T>.
    int begin_co(const gmp_attr *attr, co<T> &made);

    // 0 once the goroutine has ended. So it has where the join says that the
    // runtime has (-ESHUTDOWN): a shutdown waits for all goroutines first. And
    // where the handle is stale (-EINVAL): after a shutdown, and in the child
    // of a fork, which has not got the goroutine.
    int wait_end(std::int64_t until) noexcept
    {
        if (!g_)
            return -EINVAL;
        return has_ended(gmp_join_until(g_, until));
    }
    static int has_ended(int rc) noexcept
    {
        return rc == 0 || rc == -ESHUTDOWN || rc == -EINVAL ? 0 : rc;
    }

#if GMPRT_EXCEPTIONS
    // After the join, for a function without a state: whether it has returned.
    // Then nothing is left to do.
    bool returned_nothing() noexcept
    {
        if (state_ || (failures_ && !failures_->none()))
            return false;
        g_ = nullptr;
        failures_ = nullptr;
        return true;
    }
#endif

    // After the join all that was shared is ours.
    outcome joined() noexcept
    {
        outcome got;
        got.state.reset(std::exchange(state_, nullptr));
        if (got.state)
            got.failed = std::move(got.state->failed);
#if GMPRT_EXCEPTIONS
        else if (failures_)
            got.failed = failures_->take(g_);
        failures_ = nullptr;
#endif
        g_ = nullptr;
        return got;
    }

    void end() noexcept
    {
        cancel();
        const bool shielded = gmp_shield_enter() == 0;
        int rc;
        while ((rc = wait_end(GMP_FOREVER)) == -ENOMEM)
            gmp_yield(); // a host thread that waits for the first time
        if (shielded)
            gmp_shield_leave();
        if (rc == -EDEADLK)
            detail::fatal("gmp::task: destroyed by its own goroutine, or where "
                          "nothing may wait",
                          rc);
        if (rc == 0)
            joined();
        g_ = nullptr;
    }

    gmp_g *g_ = nullptr;
    detail::task_state<T> *state_ = nullptr;
#if GMPRT_EXCEPTIONS
    detail::failures *failures_ = nullptr; // of a function without a state
#endif
};

template <class F, class... Args,
          std::enable_if_t<detail::is_function<F>, int> = 0>
task(F &&, Args &&...) -> task<detail::result_of_t<F, Args...>>;
template <class F, class... Args>
task(const options &, F &&, Args &&...)
    -> task<detail::result_of_t<F, Args...>>;
template <class F, class... Args>
task(std::error_code &, F &&, Args &&...)
    -> task<detail::result_of_t<F, Args...>>;

template <class T> struct is_trivially_relocatable<task<T>> : std::true_type {};

#if GMPRT_EXCEPTIONS
/// In a handler of an exception that a join or group::wait has thrown again:
/// the name of the goroutine which had it thrown, or "goroutine 17" for one
/// without a name. Elsewhere an empty string.
inline std::string thrown_by()
{
    const auto *last = static_cast<const detail::rethrown *>(
        gmp_getspecific(detail::rethrown::key()));
    const auto current = std::current_exception();
    return last && current && last->error == current ? last->name
                                                     : std::string();
}
#endif

// --- Channels ----------------------------------------------------------------

/// How a send or receive has ended that may end in several ways.
enum class channel_status {
    success,
    closed,
    timeout,
    empty, ///< try_recv: there is no element now
    full,  ///< try_send: nobody takes an element now
};

template <class T> class sender;
template <class T> class receiver;
template <class T> class channel;

/// What a receive brings that may end in several ways: an element, or nothing
/// and why.
template <class T> class received : public std::optional<T> {
public:
    received(channel_status status) noexcept : status_(status) {}
    received(std::optional<T> &&element)
        : std::optional<T>(std::move(element)), status_(channel_status::success)
    {
    }

    channel_status status() const noexcept { return status_; }
    bool closed() const noexcept { return status_ == channel_status::closed; }
    bool timed_out() const noexcept
    {
        return status_ == channel_status::timeout;
    }

private:
    channel_status status_;
};

namespace detail {

// How a T lies in a channel: as itself, or, where its move may throw or its
// alignment is too large, in a box.
template <class T>
constexpr bool is_boxed =
    !std::is_nothrow_move_constructible_v<T> || alignof(T) > 16;

template <class T, bool Boxed = is_boxed<T>> class element {
public:
    static constexpr std::size_t size = sizeof(T);
    static constexpr bool ends_itself = std::is_trivially_destructible_v<T>;

    static void destroy(void *at) { static_cast<T *>(at)->~T(); }
    static void relocate(void *to, void *from)
    {
        T *const old = static_cast<T *>(from);
        ::new (to) T(std::move(*old));
        old->~T();
    }

    void *at() noexcept { return slot_.at(); }
    template <class U> void put(U &&value)
    {
        slot_.make(std::forward<U>(value));
    }
    T &get() noexcept { return slot_.value; }
    void end() noexcept { slot_.end(); }

private:
    slot<T> slot_;
};

template <class T> class element<T, true> {
public:
    static constexpr std::size_t size = sizeof(T *);
    static constexpr bool ends_itself = false;

    static void destroy(void *at) { delete *static_cast<kept_box<T> **>(at); }

    void *at() noexcept { return &box_; }
    template <class U> void put(U &&value)
    {
        box_ = new kept_box<T>(std::in_place, std::forward<U>(value));
    }
    T &get() noexcept { return box_->value; }
    void end() noexcept { delete box_; }

private:
    kept_box<T> *box_;
};

// What the channel does to a T besides copying bytes.
template <class T>
gmp_chan *make_channel(std::size_t capacity, const char *name)
{
    using wire = element<T>;
    constexpr bool plain = is_boxed<T> || is_trivially_relocatable<T>::value;

    if constexpr (plain && wire::ends_itself)
        if (!name)
            return gmp_chan_make(wire::size, capacity);
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    attr.elem_size = wire::size;
    attr.capacity = capacity;
    attr.name = name;
    if constexpr (!wire::ends_itself)
        attr.destroy = wire::destroy;
    if constexpr (!plain)
        attr.move = wire::relocate;
    return gmp_chan_make_with(&attr);
}

// An element on its way into a channel. What is not sent goes back.
template <class T> class outgoing {
public:
    explicit outgoing(const T &value) { element_.put(value); }
    explicit outgoing(T &&value) : from_(std::addressof(value))
    {
        element_.put(std::move(value));
    }
    outgoing(const outgoing &) = delete;
    outgoing &operator=(const outgoing &) = delete;
    ~outgoing()
    {
        if (sent_)
            return;
        if constexpr (std::is_nothrow_move_assignable_v<T>)
            if (from_)
                *from_ = std::move(element_.get());
        element_.end();
    }

    void *at() noexcept { return element_.at(); }
    int done(int rc) noexcept
    {
        sent_ = rc == 0;
        return rc;
    }

private:
    element<T> element_;
    T *from_ = nullptr;
    bool sent_ = false;
};

template <class T>
constexpr bool copied = std::is_trivially_copyable_v<T> && !is_boxed<T>;

// Sends by call(elem): a value that is no more than bytes from where it lies.
template <class T, class U, class Call> int send_by(U &&value, Call call)
{
    if constexpr (copied<T>) {
        return call(std::addressof(value));
    } else {
        outgoing<T> out(std::forward<U>(value));
        return out.done(call(out.at()));
    }
}

// Receives by call(elem).
template <class T, class Call> std::optional<T> receive_by(int &rc, Call call)
{
    element<T> in;
    rc = call(in.at());
    if (rc != 0)
        return std::nullopt;
    struct ends_element {
        element<T> &e;
        ~ends_element() { e.end(); }
    } end{in};
    return std::optional<T>(std::move(in.get()));
}

inline channel_status status_of(int rc, channel_status would_wait)
{
    switch (rc) {
    case 0:
        return channel_status::success;
    case -EPIPE:
        return channel_status::closed;
    case -ETIMEDOUT:
        return channel_status::timeout;
    case -EAGAIN:
        return would_wait;
    default:
        raise(rc, "gmp::channel");
    }
}

// A counted reference to a channel.
class channel_base {
public:
    channel_base() noexcept = default;
    channel_base(const channel_base &other) noexcept
        : ch_(gmp_chan_ref(other.ch_))
    {
    }
    channel_base(channel_base &&other) noexcept
        : ch_(std::exchange(other.ch_, nullptr))
    {
    }
    channel_base &operator=(const channel_base &other) noexcept
    {
        channel_base copy(other);
        std::swap(ch_, copy.ch_);
        return *this;
    }
    channel_base &operator=(channel_base &&other) noexcept
    {
        channel_base taken(std::move(other));
        std::swap(ch_, taken.ch_);
        return *this;
    }
    ~channel_base() { gmp_chan_unref(ch_); }

    /// Whether there is a channel.
    explicit operator bool() const noexcept { return ch_ != nullptr; }
    /// How many elements the buffer holds now.
    std::size_t size() const noexcept { return gmp_chan_len(ch_); }
    /// How many elements the buffer can hold.
    std::size_t capacity() const noexcept { return gmp_chan_cap(ch_); }
    /// The channel, for functions of gmp.h; the handle keeps its reference.
    gmp_chan *native_handle() const noexcept { return ch_; }

    friend bool operator==(const channel_base &a,
                           const channel_base &b) noexcept
    {
        return a.ch_ == b.ch_;
    }
    friend bool operator!=(const channel_base &a,
                           const channel_base &b) noexcept
    {
        return a.ch_ != b.ch_;
    }

protected:
    // An empty handle is a bug, and no channel that never has anything.
    gmp_chan *some() const
    {
        if (!ch_)
            raise(-EINVAL, "gmp::channel: an empty handle");
        return ch_;
    }

    gmp_chan *ch_ = nullptr;
};

// Calls wait(deadline) with one that is there, or for a point of a clock.
template <class Wait> int at(std::int64_t until, Wait wait)
{
    return wait(until);
}
template <class Clock, class Span, class Wait>
int at(const std::chrono::time_point<Clock, Span> &until, Wait wait)
{
    return detail::wait_until(until, wait);
}

// What one may do at a channel's sending end. Base is a channel_base.
template <class Base, class T> class sends : public Base {
public:
#if GMPRT_EXCEPTIONS
    /// Sends a value: waits until a receiver or the buffer takes it. False if
    /// the channel is closed, before or meanwhile. A T && that was not sent is
    /// as before, whatever the reason; only if a T's move assignment may throw,
    /// it has been moved from.
    [[nodiscard]] bool send(const T &value) const { return put(value); }
    [[nodiscard]] bool send(T &&value) const { return put(std::move(value)); }

    /// Sends within a span, or until a point in time of any clock: success,
    /// timeout or closed.
    template <class Rep, class Period>
    channel_status
    send_for(const T &value,
             const std::chrono::duration<Rep, Period> &span) const
    {
        return put_until(value, gmp_after_ns(detail::span_ns(span)));
    }
    template <class Rep, class Period>
    channel_status
    send_for(T &&value, const std::chrono::duration<Rep, Period> &span) const
    {
        return put_until(std::move(value), gmp_after_ns(detail::span_ns(span)));
    }
    template <class Clock, class Span>
    channel_status
    send_until(const T &value,
               const std::chrono::time_point<Clock, Span> &point) const
    {
        return put_until(value, point);
    }
    template <class Clock, class Span>
    channel_status
    send_until(T &&value,
               const std::chrono::time_point<Clock, Span> &point) const
    {
        return put_until(std::move(value), point);
    }
#endif

    /// The twin of all these: whether the value was sent, and if not, why.
    [[nodiscard]] bool send(const T &value, std::error_code &ec,
                            deadline until = {}) const
    {
        return put(value, ec, until.ns());
    }
    [[nodiscard]] bool send(T &&value, std::error_code &ec,
                            deadline until = {}) const
    {
        return put(std::move(value), ec, until.ns());
    }

    /// Sends if that need not wait: success, full or closed. Never blocks.
    channel_status try_send(const T &value) const { return put_now(value); }
    channel_status try_send(T &&value) const
    {
        return put_now(std::move(value));
    }

#if GMPRT_COROUTINES
#if GMPRT_EXCEPTIONS
    /// In a coroutine: co_await ch.async_send(value), as send(value).
    [[nodiscard]] send_wait<T> async_send(const T &value) const
    {
        return send_wait<T>(this->some(), value);
    }
    [[nodiscard]] send_wait<T> async_send(T &&value) const
    {
        return send_wait<T>(this->some(), std::move(value));
    }
#endif
    /// In a coroutine: its twin, as send(value, ec, until).
    [[nodiscard]] ec_send_wait<T> async_send(const T &value,
                                             std::error_code &ec,
                                             deadline until = {}) const
    {
        return ec_send_wait<T>(this->ch_, value, ec, until.ns());
    }
    [[nodiscard]] ec_send_wait<T> async_send(T &&value, std::error_code &ec,
                                             deadline until = {}) const
    {
        return ec_send_wait<T>(this->ch_, std::move(value), ec, until.ns());
    }
#endif

    /// Closes the channel: receivers get what the buffer holds and then
    /// nothing, senders get false. False if it is closed already. Never blocks.
    bool close() const { return gmp_chan_close(this->some()) == 0; }

private:
    template <class U> bool put(U &&value) const
    {
        gmp_chan *const ch = this->some();
        const int rc =
            detail::send_by<T>(std::forward<U>(value), [ch](const void *e) {
                return gmp_chan_send(ch, e);
            });
        if (rc == 0)
            return true;
        if (rc != -EPIPE)
            raise(rc, "gmp::channel::send");
        return false;
    }

    template <class U, class Until>
    channel_status put_until(U &&value, const Until &until) const
    {
        gmp_chan *const ch = this->some();
        const int rc = detail::send_by<T>(
            std::forward<U>(value), [ch, &until](const void *e) {
                return detail::at(until, [ch, e](std::int64_t ns) {
                    return gmp_chan_send_until(ch, e, ns);
                });
            });
        return status_of(rc, channel_status::full);
    }

    template <class U>
    bool put(U &&value, std::error_code &ec, std::int64_t until) const
    {
        gmp_chan *const ch = this->ch_;
        int rc = -EINVAL;
        if (ch)
            rc = detail::send_by<T>(
                std::forward<U>(value), [ch, until](const void *e) {
                    return gmp_chan_send_until(ch, e, until);
                });
        ec = error(rc);
        return rc == 0;
    }

    template <class U> channel_status put_now(U &&value) const
    {
        gmp_chan *const ch = this->some();
        const int rc =
            detail::send_by<T>(std::forward<U>(value), [ch](const void *e) {
                return gmp_chan_try_send(ch, e);
            });
        return status_of(rc, channel_status::full);
    }
};

// What one may do at its receiving end.
template <class Base, class T> class receives : public Base {
public:
    class iterator;

#if GMPRT_EXCEPTIONS
    /// Receives an element: waits until there is one. Nothing if the channel is
    /// closed and its buffer empty.
    std::optional<T> recv() const
    {
        gmp_chan *const ch = this->some();
        int rc;
        std::optional<T> got = detail::receive_by<T>(
            rc, [ch](void *e) { return gmp_chan_recv(ch, e); });
        if (rc != 0 && rc != -EPIPE)
            raise(rc, "gmp::channel::recv");
        return got;
    }

    /// Receives within a span, or until a point in time of any clock: an
    /// element, or timeout or closed.
    template <class Rep, class Period>
    received<T> recv_for(const std::chrono::duration<Rep, Period> &span) const
    {
        return get_until(gmp_after_ns(detail::span_ns(span)));
    }
    template <class Clock, class Span>
    received<T>
    recv_until(const std::chrono::time_point<Clock, Span> &point) const
    {
        return get_until(point);
    }
#endif

    /// The twin of all these: an element, or nothing and why.
    std::optional<T> recv(std::error_code &ec, deadline until = {}) const
    {
        gmp_chan *const ch = this->ch_;
        const std::int64_t ns = until.ns();
        int rc = -EINVAL;
        std::optional<T> got;
        if (ch)
            got = detail::receive_by<T>(rc, [ch, ns](void *e) {
                return gmp_chan_recv_until(ch, e, ns);
            });
        ec = error(rc);
        return got;
    }

#if defined(__cpp_lib_expected)
    /// The same as one value.
    std::expected<T, std::error_code> expect(deadline until = {}) const
    {
        std::error_code ec;
        std::optional<T> got = recv(ec, until);
        if (got)
            return std::move(*got);
        return std::unexpected(ec);
    }
#endif

    /// Receives if that need not wait: an element, or empty or closed. Never
    /// blocks.
    received<T> try_recv() const
    {
        gmp_chan *const ch = this->some();
        int rc;
        std::optional<T> got = detail::receive_by<T>(
            rc, [ch](void *e) { return gmp_chan_try_recv(ch, e); });
        return result(rc, std::move(got));
    }

#if GMPRT_COROUTINES
#if GMPRT_EXCEPTIONS
    /// In a coroutine: co_await ch.async_recv(), as recv().
    [[nodiscard]] recv_wait<T> async_recv() const
    {
        return recv_wait<T>(this->some());
    }
    /// In a coroutine: as recv_for(span), and as recv_until(point); a deadline
    /// stays where it is if its clock is set.
    template <class Rep, class Period>
    [[nodiscard]] timed_recv_wait<T>
    async_recv_for(const std::chrono::duration<Rep, Period> &span) const
    {
        return timed_recv_wait<T>(this->some(), deadline(span).ns());
    }
    template <class Clock, class Span>
    [[nodiscard]] timed_recv_wait<T>
    async_recv_until(const std::chrono::time_point<Clock, Span> &point) const
    {
        return timed_recv_wait<T>(this->some(), deadline(point).ns());
    }
#endif
    /// In a coroutine: their twin, as recv(ec, until).
    [[nodiscard]] ec_recv_wait<T> async_recv(std::error_code &ec,
                                             deadline until = {}) const
    {
        return ec_recv_wait<T>(this->ch_, ec, until.ns());
    }
#endif

    /// Receives elements until the channel is closed: for (T &x : channel).
    /// With -fno-exceptions a cancel ends the loop too.
    iterator begin() const { return iterator(*this); }
    iterator end() const noexcept { return iterator(); }

private:
    static received<T> result(int rc, std::optional<T> &&got)
    {
        if (rc == 0)
            return received<T>(std::move(got));
        return received<T>(status_of(rc, channel_status::empty));
    }

    template <class Until> received<T> get_until(const Until &until) const
    {
        gmp_chan *const ch = this->some();
        int rc;
        std::optional<T> got = detail::receive_by<T>(rc, [ch, &until](void *e) {
            return detail::at(until, [ch, e](std::int64_t ns) {
                return gmp_chan_recv_until(ch, e, ns);
            });
        });
        return result(rc, std::move(got));
    }
};

template <class Base, class T> class receives<Base, T>::iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = T *;
    using reference = T &;

    iterator() noexcept = default;
    explicit iterator(const receives &from) : from_(&from) { ++*this; }

    T &operator*() const noexcept { return *element_; }
    T *operator->() const noexcept { return std::addressof(*element_); }
    iterator &operator++()
    {
        // A T may be one that cannot be assigned.
        element_.reset();
#if GMPRT_EXCEPTIONS
        std::optional<T> next = from_->recv();
#else
        std::error_code ec;
        std::optional<T> next = from_->recv(ec);
#endif
        if (next)
            element_.emplace(std::move(*next));
        return *this;
    }
    void operator++(int) { ++*this; }

    friend bool operator==(const iterator &a, const iterator &b) noexcept
    {
        return a.element_.has_value() == b.element_.has_value();
    }
    friend bool operator!=(const iterator &a, const iterator &b) noexcept
    {
        return !(a == b);
    }

private:
    const receives *from_ = nullptr;
    mutable std::optional<T> element_;
};

} // namespace detail

/// The sending end of a channel.
template <class T>
class sender : public detail::sends<detail::channel_base, T> {
public:
    /// No channel.
    sender() noexcept = default;
    sender(const channel<T> &both) noexcept;
    sender(channel<T> &&both) noexcept;
};

/// The receiving end of a channel.
template <class T>
class receiver : public detail::receives<detail::channel_base, T> {
public:
    /// No channel.
    receiver() noexcept = default;
    receiver(const channel<T> &both) noexcept;
    receiver(channel<T> &&both) noexcept;

    /// Takes over a reference to a channel of gmp.h, such as gmp_tick makes:
    /// its elements must be Ts, and a T no more than bytes.
    static receiver adopt(gmp_chan *owned) noexcept
    {
        static_assert(detail::copied<T>,
                      "gmp::receiver<T>::adopt: T must be trivially copyable");
        receiver made;
        made.ch_ = owned;
        return made;
    }
};

namespace detail {

// The first base of a channel, so that its words come before the compiler's.
template <class T> struct element_check {
    static_assert(std::is_object_v<T> && !std::is_const_v<T> &&
                      !std::is_array_v<T> && std::is_move_constructible_v<T> &&
                      std::is_destructible_v<T>,
                  "gmp::channel<T>: T must be a type that can be moved; of a "
                  "reference make a pointer");
};

} // namespace detail

/// A channel of Ts, by a counted handle: copies of it are the same channel. Its
/// elements are moved in and out, and what is left in a channel when its last
/// handle goes is destroyed. Only a T whose move may throw costs an allocation
/// for each element.
///
/// A T is moved and destroyed while the channel is locked: a T's move and
/// destructor must not use the channel, nor wait.
template <class T>
class channel
    : detail::element_check<T>,
      public detail::sends<detail::receives<detail::channel_base, T>, T> {
public:
    /// No channel; `make` and the next constructor make one.
    channel() noexcept = default;

    /// Makes a channel that buffers `capacity` elements; if that is 0, each
    /// send waits for its receiver. The name shows in dumps.
    explicit channel(std::size_t capacity, const char *name = nullptr)
    {
        this->ch_ = detail::make_channel<T>(capacity, name);
        if (!this->ch_)
            detail::raise(-ENOMEM, "gmp::channel");
    }

    /// The same; without memory it sets `ec`, and the handle is empty.
    static channel make(std::size_t capacity, std::error_code &ec,
                        const char *name = nullptr)
    {
        channel made;
        made.ch_ = detail::make_channel<T>(capacity, name);
        ec = error(made.ch_ ? 0 : -ENOMEM);
        return made;
    }

    friend class sender<T>;
    friend class receiver<T>;
};

template <class T> sender<T>::sender(const channel<T> &both) noexcept
{
    this->ch_ = gmp_chan_ref(both.ch_);
}
template <class T> sender<T>::sender(channel<T> &&both) noexcept
{
    this->ch_ = std::exchange(both.ch_, nullptr);
}
template <class T> receiver<T>::receiver(const channel<T> &both) noexcept
{
    this->ch_ = gmp_chan_ref(both.ch_);
}
template <class T> receiver<T>::receiver(channel<T> &&both) noexcept
{
    this->ch_ = std::exchange(both.ch_, nullptr);
}

template <class T>
struct is_trivially_relocatable<channel<T>> : std::true_type {};
template <class T>
struct is_trivially_relocatable<sender<T>> : std::true_type {};
template <class T>
struct is_trivially_relocatable<receiver<T>> : std::true_type {};

/// A channel on which a tick comes every `period`: the time of gmp_now(). Its
/// buffer holds one; a slow receiver misses some.
template <class Rep, class Period>
receiver<std::int64_t> tick(const std::chrono::duration<Rep, Period> &period)
{
    gmp_chan *const ch = gmp_tick(detail::span_ns(period));
    if (!ch)
        detail::raise(period > period.zero() ? -ENOMEM : -EINVAL, "gmp::tick");
    return receiver<std::int64_t>::adopt(ch);
}

// --- Coroutines --------------------------------------------------------------

#if GMPRT_COROUTINES

namespace detail {

// What a coroutine has besides its result. `wait` is in use in the one that is
// a goroutine, the root: those that it awaits wait there too.
class co_base {
public:
    gmp_wait wait; // the first member: see `of`

    static co_base &of(gmp_wait *at) noexcept
    {
        return *reinterpret_cast<co_base *>(at);
    }

    bool is_root() const noexcept { return next_ & root; }
    // The root of the goroutine that it runs in.
    co_base &root_of() noexcept
    {
        return is_root() ? *this : *reinterpret_cast<co_base *>(top());
    }
    // Of a root: whether it has ended, and whether there is something to resume
    // in the same step.
    bool over() const noexcept { return next_ == root; }
    bool goes_on() const noexcept { return next_ & at_once; }

    // Of a root: resume this coroutine next, in the next step or in this one.
    // (A coroutine does not resume another one itself: not every compiler makes
    // that a jump, and then it takes more and more of the stack.)
    void resume_later(std::coroutine_handle<> other) noexcept
    {
        set(other, root);
    }
    void resume_now(std::coroutine_handle<> other) noexcept
    {
        set(other, root | at_once);
    }
    void ends() noexcept { next_ = root; }
    // Of another one: this one awaits it, in the goroutine of that root.
    void is_awaited_by(std::coroutine_handle<> other, co_base &in) noexcept
    {
        set(other, 0);
        top() = reinterpret_cast<std::uintptr_t>(&in);
    }
    std::coroutine_handle<> next() const noexcept
    {
        return std::coroutine_handle<>::from_address(
            reinterpret_cast<void *>(next_ & ~(root | at_once)));
    }

private:
    static constexpr std::uintptr_t root = 1, at_once = 2;

    void set(std::coroutine_handle<> other, std::uintptr_t flags) noexcept
    {
        next_ = reinterpret_cast<std::uintptr_t>(other.address()) | flags;
    }

    // Of another one than a root, which does not wait itself: where the root's
    // address is.
    std::uint64_t &top() noexcept { return wait._opaque[0]; }

    std::uintptr_t next_ = 0;
};

#if GMPRT_EXCEPTIONS
// In a handler: how a coroutine has failed.
inline std::unique_ptr<failure> failure_of_coroutine()
{
    return failure_of([] { throw; });
}
#endif

// At the end of a coroutine: goes on in the one that awaits it.
struct co_end {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept
    {
        co_base &me = self.promise();
        if (me.is_root())
            me.ends();
        else
            me.root_of().resume_now(me.next());
    }
    void await_resume() const noexcept {}
};

// The base of all that only a coroutine of this header can await.
struct wait_base {};

// A wait by a goroutine of steps. `Self::name()` begins it, and `Self::end()`
// returns its result.
template <class Self> class co_wait : wait_base {
public:
    co_wait() = default;
    co_wait(const co_wait &) = delete;
    co_wait &operator=(const co_wait &) = delete;

    // Whether the coroutine `self` has to wait.
    template <class Promise> bool begin(std::coroutine_handle<Promise> self)
    {
        if (static_cast<Self *>(this)->name() != GMP_STEP_WAIT)
            return false;
        co_base &me = self.promise();
        me.root_of().resume_later(self);
        return true;
    }
};

// The channel of a wait, until that has succeeded at once: then nobody need ask
// for the result.
class wait_chan {
public:
    explicit wait_chan(gmp_chan *ch) noexcept : ch_(ch) {}

    gmp_chan *get() const noexcept { return ch_; }
    int began(int rc) noexcept
    {
        if (rc == 0)
            ch_ = succeeded();
        return rc;
    }
    int result() const noexcept
    {
        return ch_ == succeeded() ? 0 : gmp_step_result();
    }

private:
    // No channel's address.
    static gmp_chan *succeeded() noexcept
    {
        return reinterpret_cast<gmp_chan *>(std::uintptr_t{1});
    }

    gmp_chan *ch_;
};

// The awaiter of a wait, or of a reference to one. (GCC copies an awaiter that
// is not made in its place.)
template <class Wait> struct co_awaits {
    Wait of;

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> self)
    {
        return of.begin(self);
    }
    auto await_resume() { return of.end(); }
};

template <class Promise, class T> struct co_returns {
    template <class U = T> void return_value(U &&value)
    {
        static_cast<Promise *>(this)->value.emplace(std::forward<U>(value));
    }
};
template <class Promise> struct co_returns<Promise, void> {
    void return_void() noexcept { static_cast<Promise *>(this)->value = true; }
};

template <class T> class co_awaiter;

template <class T>
struct co_promise final : co_base,
                          task_state<T>,
                          co_returns<co_promise<T>, T> {
    using handle = std::coroutine_handle<co_promise>;

    co<T> get_return_object() noexcept
    {
        return co<T>(handle::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    co_end final_suspend() const noexcept { return {}; }
    void unhandled_exception()
    {
#if GMPRT_EXCEPTIONS
        this->failed = failure_of_coroutine();
#endif
    }
    void discard() noexcept override { handle::from_promise(*this).destroy(); }

    template <class U> co_awaiter<U> await_transform(co<U> &&other) noexcept
    {
        return co_awaiter<U>(other);
    }
    template <class Wait,
              std::enable_if_t<
                  std::is_base_of_v<wait_base, std::remove_reference_t<Wait>>,
                  int> = 0>
    co_awaits<Wait &> await_transform(Wait &&that) noexcept
    {
        return {that};
    }
#if GMPRT_EXCEPTIONS
    template <class U>
    co_awaits<join_wait<U>> await_transform(task<U> &other) noexcept
    {
        return {join_wait<U>(other)};
    }
#endif
    template <class Other,
              std::enable_if_t<
                  !std::is_base_of_v<wait_base, std::remove_reference_t<Other>>,
                  int> = 0>
    std::suspend_never await_transform(Other &&)
    {
        static_assert(!std::is_same_v<Other, Other>,
                      "gmp::co: a coroutine awaits a task, another gmp::co, "
                      "which is moved, and what functions named async_... "
                      "return");
        return {};
    }
};

// A coroutine that another one awaits: it runs until it has ended, in the
// goroutine of that one.
template <class T> class co_awaiter {
public:
    explicit co_awaiter(co<T> &made) noexcept : of_(made.h_) {}

    bool await_ready() const
    {
        if (!of_ || of_.done())
            raise(-EINVAL, "gmp::co: an empty handle, or one that has ended");
        return false;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept
    {
        co_base &root = static_cast<co_base &>(self.promise()).root_of();
        of_.promise().is_awaited_by(self, root);
        root.resume_now(of_);
    }
    T await_resume() const
    {
        auto &promise = of_.promise();
#if GMPRT_EXCEPTIONS
        if (promise.failed) {
            if (promise.failed->error)
                std::rethrow_exception(std::move(promise.failed->error));
            throw cancelled();
        }
#endif
        if constexpr (!std::is_void_v<T>)
            return std::move(*promise.value);
    }

private:
    typename co_promise<T>::handle of_;
};

// A step of a coroutine that has a task.
inline int co_step(gmp_wait *wait)
{
    co_base &root = co_base::of(wait);
    do
        root.next().resume();
    while (root.goes_on());
    return root.over() ? 0 : GMP_STEP_WAIT;
}

// A step of one that has none: its end is the end of its frame, too.
template <class T> int co_step_alone(gmp_wait *wait)
{
    using handle = typename co_promise<T>::handle;
    auto &promise = static_cast<co_promise<T> &>(co_base::of(wait));
    struct frees {
        handle frame;
        bool waits = false;
        ~frees()
        {
            if (!waits)
                frame.destroy();
        }
    } end{handle::from_promise(promise)};
    end.waits = co_step(wait) == GMP_STEP_WAIT;
#if GMPRT_EXCEPTIONS
    if (!end.waits && promise.failed && promise.failed->error)
        std::rethrow_exception(promise.failed->error); // it is uncaught
#endif
    return end.waits ? GMP_STEP_WAIT : 0;
}

} // namespace detail

/// A coroutine with a result of type T, which may be void. The function has not
/// begun when it returns its co<T>. What begins it:
///
///     gmp::task<int> t(answer(ch));   // as a goroutine with a result
///     gmp::go(serve(ch));             // as a goroutine on its own
///     int n = co_await answer(ch);    // inside of another coroutine
///
/// It is a goroutine without a stack: it has one only from one wait to the
/// next, and waits in its frame. It waits by co_await, of what the functions
/// named async_... return, of a task, or of another co<T>. A call that blocks
/// works as well; then the coroutine keeps a stack while it waits. All else is
/// as for a goroutine: threads, cancels, gmp::shield, gmp::local, dumps.
///
/// A cancel makes co_await throw gmp::cancelled. A task's destructor cancels
/// the coroutine, waits until it has ended, and frees its frame. A co<T> that
/// was never begun is destroyed with its arguments. A lambda that captures
/// something has to live until the coroutine has ended; arguments are kept.
template <class T> class [[nodiscard]] co {
    static_assert(std::is_void_v<T> ||
                      (std::is_object_v<T> && std::is_move_constructible_v<T>),
                  "gmp::co<T>: T must be void, or a type that can be moved; of "
                  "a reference make a pointer");

public:
    using promise_type = detail::co_promise<T>;

    /// No coroutine.
    co() noexcept = default;
    co(co &&other) noexcept : h_(std::exchange(other.h_, nullptr)) {}
    co &operator=(co &&other) noexcept
    {
        co taken(std::move(other));
        std::swap(h_, taken.h_);
        return *this;
    }
    ~co()
    {
        if (h_)
            h_.destroy();
    }

    /// Whether there is a coroutine.
    explicit operator bool() const noexcept { return static_cast<bool>(h_); }

private:
    using handle = typename promise_type::handle;
    explicit co(handle h) noexcept : h_(h) {}

    // Starts it as a goroutine, to which it belongs then.
    int start(const gmp_attr *attr, gmp_step step, gmp_g **out) noexcept
    {
        if (!h_)
            return -EINVAL;
        detail::co_base &root = h_.promise();
        root.resume_later(h_);
        // Dumps show the function that resumes it: the frame's first word.
        void (*shown)() = nullptr;
        std::memcpy(&shown, h_.address(), sizeof shown);
        const handle started = std::exchange(h_, nullptr);
        const int rc = gmp_go_step(attr, step, &root.wait, shown, out);
        if (rc != 0)
            h_ = started;
        return rc;
    }

    friend promise_type;
    friend class detail::co_awaiter<T>;
    friend class task<T>;
    template <class U>
    friend int detail::start_co(const gmp_attr *attr, co<U> &made);

    handle h_;
};

template <class T>
int task<T>::begin_co(const gmp_attr *attr, co<T> &made)
{
    if (!made.h_)
        return -EINVAL;
    detail::task_state<T> *const state = &made.h_.promise();
    const int rc = made.start(attr, detail::co_step, &g_);
    if (rc == 0)
        state_ = state;
    return rc;
}

namespace detail {

template <class T> int start_co(const gmp_attr *attr, co<T> &made)
{
    return made.start(attr, co_step_alone<T>, nullptr);
}

// What an async_send sends: a value that is no more than bytes from where it
// lies.
template <class T, bool = copied<T>> class sent {
public:
    explicit sent(const T &value) noexcept : at_(std::addressof(value)) {}
    const void *at() noexcept { return at_; }
    int done(int rc) noexcept { return rc; }

private:
    const T *at_;
};
template <class T> class sent<T, false> : public outgoing<T> {
public:
    using outgoing<T>::outgoing;
};

template <class T> class send_wait : public co_wait<send_wait<T>> {
public:
    template <class U>
    send_wait(gmp_chan *ch, U &&value) : ch_(ch), value_(std::forward<U>(value))
    {
    }
    int name() noexcept
    {
        return ch_.began(
            gmp_step_send(ch_.get(), value_.at(), GMP_FOREVER, nullptr));
    }
    [[nodiscard]] bool end()
    {
        const int rc = value_.done(ch_.result());
        if (rc != 0 && rc != -EPIPE)
            raise(rc, "gmp::channel::async_send");
        return rc == 0;
    }

private:
    wait_chan ch_;
    sent<T> value_;
};

template <class T> class ec_send_wait : public co_wait<ec_send_wait<T>> {
public:
    template <class U>
    ec_send_wait(gmp_chan *ch, U &&value, std::error_code &ec,
                 std::int64_t until)
        : ch_(ch), ec_(ec), until_(until), value_(std::forward<U>(value))
    {
    }
    int name() noexcept
    {
        return ch_ ? gmp_step_send(ch_, value_.at(), until_, &timer_)
                   : -EINVAL;
    }
    [[nodiscard]] bool end() noexcept
    {
        const int rc = value_.done(ch_ ? gmp_step_result() : -EINVAL);
        ec_ = error(rc);
        return rc == 0;
    }

private:
    gmp_chan *ch_;
    std::error_code &ec_;
    std::int64_t until_;
    sent<T> value_;
    gmp_wait_timer timer_;
};

// The element that a receive has brought, if its result is 0.
template <class T> std::optional<T> take(element<T> &in, int rc)
{
    if (rc != 0)
        return std::nullopt;
    struct ends_element {
        element<T> &e;
        ~ends_element() { e.end(); }
    } end{in};
    return std::optional<T>(std::move(in.get()));
}

template <class T> class recv_wait : public co_wait<recv_wait<T>> {
public:
    explicit recv_wait(gmp_chan *ch) noexcept : ch_(ch) {}
    int name() noexcept
    {
        return ch_.began(
            gmp_step_recv(ch_.get(), in_.at(), GMP_FOREVER, nullptr));
    }
    std::optional<T> end()
    {
        const int rc = ch_.result();
        if (rc != 0 && rc != -EPIPE)
            raise(rc, "gmp::channel::async_recv");
        return detail::take(in_, rc);
    }

private:
    wait_chan ch_;
    element<T> in_;
};

template <class T> class timed_recv_wait : public co_wait<timed_recv_wait<T>> {
public:
    timed_recv_wait(gmp_chan *ch, std::int64_t until) noexcept
        : ch_(ch), until_(until)
    {
    }
    int name() noexcept
    {
        return gmp_step_recv(ch_, in_.at(), until_, &timer_);
    }
    received<T> end()
    {
        const int rc = gmp_step_result();
        if (rc == 0)
            return received<T>(detail::take(in_, rc));
        return received<T>(status_of(rc, channel_status::empty));
    }

private:
    gmp_chan *ch_;
    std::int64_t until_;
    element<T> in_;
    gmp_wait_timer timer_;
};

template <class T> class ec_recv_wait : public co_wait<ec_recv_wait<T>> {
public:
    ec_recv_wait(gmp_chan *ch, std::error_code &ec, std::int64_t until) noexcept
        : ch_(ch), ec_(ec), until_(until)
    {
    }
    int name() noexcept
    {
        return ch_ ? gmp_step_recv(ch_, in_.at(), until_, &timer_)
                   : -EINVAL;
    }
    std::optional<T> end()
    {
        const int rc = ch_ ? gmp_step_result() : -EINVAL;
        ec_ = error(rc);
        return detail::take(in_, rc);
    }

private:
    gmp_chan *ch_;
    std::error_code &ec_;
    std::int64_t until_;
    element<T> in_;
    gmp_wait_timer timer_;
};

#if GMPRT_EXCEPTIONS
template <class T> class join_wait : public co_wait<join_wait<T>> {
public:
    explicit join_wait(task<T> &of) noexcept : of_(of) {}
    int name() noexcept
    {
        return of_.g_ ? gmp_step_join(of_.g_, GMP_FOREVER, nullptr) : -EINVAL;
    }
    T end()
    {
        if (!of_.g_)
            return of_.result(-EINVAL);
        return of_.result(task<T>::has_ended(gmp_step_result()));
    }

private:
    task<T> &of_;
};
#endif

template <class T> class ec_join_wait : public co_wait<ec_join_wait<T>> {
public:
    ec_join_wait(task<T> &of, std::error_code &ec, std::int64_t until) noexcept
        : of_(of), ec_(ec), until_(until)
    {
    }
    int name() noexcept
    {
        return of_.g_ ? gmp_step_join(of_.g_, until_, &timer_) : -EINVAL;
    }
    maybe_t<T> end()
    {
        if (!of_.g_)
            return of_.result(-EINVAL, ec_);
        return of_.result(task<T>::has_ended(gmp_step_result()), ec_);
    }

private:
    task<T> &of_;
    std::error_code &ec_;
    std::int64_t until_;
    gmp_wait_timer timer_;
};

class sleep_wait : public co_wait<sleep_wait> {
public:
    explicit sleep_wait(std::int64_t until, std::error_code *ec = nullptr)
        : until_(until), ec_(ec)
    {
    }
    int name() noexcept
    {
        return gmp_step_sleep(until_, &timer_);
    }
    void end()
    {
        const int rc = gmp_step_result();
        if (ec_)
            *ec_ = error(rc);
        else if (rc != 0)
            raise(rc, "gmp::async_sleep_for");
    }

private:
    std::int64_t until_;
    std::error_code *ec_;
    gmp_wait_timer timer_;
};

class yield_wait : public co_wait<yield_wait> {
public:
    int name() noexcept { return gmp_step_yield(); }
    void end() const noexcept {}
};

} // namespace detail

/// In a coroutine: co_await async_sleep_for(span, ec), as sleep_for(span, ec).
template <class Rep, class Period>
[[nodiscard]] detail::sleep_wait
async_sleep_for(const std::chrono::duration<Rep, Period> &span,
                std::error_code &ec)
{
    return detail::sleep_wait(gmp_after_ns(detail::span_ns(span)), &ec);
}

/// In a coroutine: as sleep_until(point, ec); a deadline stays where it is if
/// its clock is set.
template <class Clock, class Span>
[[nodiscard]] detail::sleep_wait
async_sleep_until(const std::chrono::time_point<Clock, Span> &point,
                  std::error_code &ec)
{
    return detail::sleep_wait(detail::deadline_ns(point), &ec);
}

#if GMPRT_EXCEPTIONS
template <class Rep, class Period>
[[nodiscard]] detail::sleep_wait
async_sleep_for(const std::chrono::duration<Rep, Period> &span)
{
    return detail::sleep_wait(gmp_after_ns(detail::span_ns(span)));
}

template <class Clock, class Span>
[[nodiscard]] detail::sleep_wait
async_sleep_until(const std::chrono::time_point<Clock, Span> &point)
{
    return detail::sleep_wait(detail::deadline_ns(point));
}
#endif

namespace this_goroutine {

/// In a coroutine: co_await async_yield() lets other goroutines run.
[[nodiscard]] inline detail::yield_wait async_yield() noexcept
{
    return detail::yield_wait();
}

} // namespace this_goroutine

#endif // GMPRT_COROUTINES

// --- Select ------------------------------------------------------------------

namespace detail {

struct no_handler {};

template <class F>
constexpr bool takes_sent =
    std::is_same_v<std::decay_t<F>, no_handler> ||
    std::is_invocable_v<F, bool> || std::is_invocable_v<F>;

// What a select sees of a case: begin() fills the C case, finish() ends it
// with what has become of it, and then run() calls its handler.
struct case_base {
    case_base() = default;
    case_base(const case_base &) = delete;
    case_base &operator=(const case_base &) = delete;
    static constexpr bool is_otherwise = false;
    static constexpr bool is_after = false;
};

template <class T, class F> class recv_case : public case_base {
public:
    recv_case(gmp_chan *ch, F f) : ch_(ch), f_(std::forward<F>(f)) {}

    void begin(gmp_case &c) noexcept { c = {ch_, element_.at(), GMP_RECV, 0}; }
    void finish(bool, int) noexcept {}
    void run(int result)
    {
        using handler = std::remove_reference_t<F>;
        if (result != 0)
            return run_with(std::optional<T>());
        struct ends_element {
            element<T> &e;
            ~ends_element() { e.end(); }
        } end{element_};
        if constexpr (std::is_same_v<handler, no_handler>)
            return;
        else
            run_with(std::optional<T>(std::move(element_.get())));
    }

private:
    void run_with(std::optional<T> &&got)
    {
        using handler = std::remove_reference_t<F>;
        if constexpr (std::is_same_v<handler, no_handler>) {
            return;
        } else if constexpr (std::is_same_v<handler, std::optional<T>>) {
            f_.reset();
            if (got)
                f_.emplace(std::move(*got));
        } else if constexpr (std::is_invocable_v<F, std::optional<T>>) {
            std::forward<F>(f_)(std::move(got));
        } else if constexpr (std::is_invocable_v<F, T>) {
            if (!got)
                raise(-EPIPE, "gmp::recv: the channel is closed");
            std::forward<F>(f_)(std::move(*got));
        } else {
            std::forward<F>(f_)();
        }
    }

    gmp_chan *ch_;
    F f_;
    element<T> element_;
};

template <class T, class U, class F> class send_case : public case_base {
public:
    send_case(gmp_chan *ch, U &&value, F f)
        : ch_(ch), value_(std::forward<U>(value)), f_(std::forward<F>(f))
    {
    }

    void begin(gmp_case &c)
    {
        if constexpr (copied<T>) {
            c = {ch_, const_cast<T *>(std::addressof(value_)), GMP_SEND, 0};
        } else {
            out_.emplace(std::forward<U>(value_));
            c = {ch_, out_->at(), GMP_SEND, 0};
        }
    }
    void finish(bool chosen, int result) noexcept
    {
        if constexpr (!copied<T>) {
            if (out_ && chosen)
                out_->done(result);
            out_.reset();
        }
    }
    void run(int result)
    {
        using handler = std::remove_reference_t<F>;
        if constexpr (std::is_invocable_v<F, bool>) {
            std::forward<F>(f_)(result == 0);
        } else {
            if (result != 0)
                raise(result, "gmp::send: the channel is closed");
            if constexpr (!std::is_same_v<handler, no_handler>)
                std::forward<F>(f_)();
        }
    }

private:
    gmp_chan *ch_;
    U &&value_; // lives as long as the whole select
    F f_;
    std::optional<outgoing<T>> out_;
};

template <class F> class after_case : public case_base {
public:
    static constexpr bool is_after = true;
    after_case(std::int64_t until, F f) : until_(until), f_(std::forward<F>(f))
    {
    }
    std::int64_t until() const noexcept { return until_; }
    void begin(gmp_case &c) noexcept { c = {nullptr, nullptr, GMP_RECV, 0}; }
    void finish(bool, int) noexcept {}
    void run(int)
    {
        using handler = std::remove_reference_t<F>;
        if constexpr (!std::is_same_v<handler, no_handler>)
            std::forward<F>(f_)();
    }

private:
    std::int64_t until_;
    F f_;
};

template <class F> class otherwise_case : public after_case<F> {
public:
    static constexpr bool is_after = false;
    static constexpr bool is_otherwise = true;
    explicit otherwise_case(F f) : after_case<F>(0, std::forward<F>(f)) {}
};

} // namespace detail

/// A case of select(): receives from a channel. The handler takes the element,
/// f(T) or f(std::optional<T>), or nothing; it may also be a std::optional<T>
/// that gets the element. If the channel is closed, an optional is empty, and
/// an f(T) makes select() throw broken_pipe. An empty handle is never ready.
template <class T, class F = detail::no_handler>
auto recv(const detail::receives<detail::channel_base, T> &from, F &&f = {})
{
    static_assert(std::is_same_v<std::decay_t<F>, detail::no_handler> ||
                      std::is_same_v<F, std::optional<T> &> ||
                      std::is_invocable_v<F, std::optional<T>> ||
                      std::is_invocable_v<F, T> || std::is_invocable_v<F>,
                  "gmp::recv: the handler takes neither T, nor "
                  "std::optional<T>, nor nothing");
    static_assert(GMPRT_EXCEPTIONS || !std::is_invocable_v<F, T> ||
                      std::is_invocable_v<F, std::optional<T>>,
                  "gmp::recv: without exceptions the handler must take a "
                  "std::optional<T>, which is empty if the channel is closed");
    return detail::recv_case<T, F>(from.native_handle(), std::forward<F>(f));
}

/// A case of select(): sends a value, which stays as it is unless it is sent.
/// The handler is g(bool), which gets false if the channel is closed, or g(),
/// with which that makes select() throw broken_pipe.
template <class Base, class T, class F = detail::no_handler>
auto send(const detail::sends<Base, T> &to, const detail::same_t<T> &value,
          F &&g = {})
{
    static_assert(detail::takes_sent<F>,
                  "gmp::send: the handler takes neither a bool nor nothing");
    static_assert(GMPRT_EXCEPTIONS || std::is_invocable_v<F, bool>,
                  "gmp::send: without exceptions there must be a handler that "
                  "takes a bool, which is false if the channel is closed");
    return detail::send_case<T, const T &, F>(to.native_handle(), value,
                                              std::forward<F>(g));
}
template <class Base, class T, class F = detail::no_handler>
auto send(const detail::sends<Base, T> &to, detail::same_t<T> &&value,
          F &&g = {})
{
    static_assert(detail::takes_sent<F>,
                  "gmp::send: the handler takes neither a bool nor nothing");
    static_assert(GMPRT_EXCEPTIONS || std::is_invocable_v<F, bool>,
                  "gmp::send: without exceptions there must be a handler that "
                  "takes a bool, which is false if the channel is closed");
    return detail::send_case<T, T, F>(to.native_handle(), std::move(value),
                                      std::forward<F>(g));
}

/// A case of select(): runs if no other can until then. Of several the earliest
/// counts.
template <class F = detail::no_handler> auto after(deadline until, F &&h = {})
{
    return detail::after_case<F>(until.ns(), std::forward<F>(h));
}

/// A case of select(): runs if no other can at once.
template <class F = detail::no_handler> auto otherwise(F &&k = {})
{
    return detail::otherwise_case<F>(std::forward<F>(k));
}

namespace detail {

constexpr std::size_t no_case = SIZE_MAX;

template <class... Cases> int wait_for_case(gmp_case *raw, Cases &...cases)
{
    static_assert((std::is_base_of_v<case_base, Cases> && ...),
                  "gmp::select: its arguments are cases: recv(...), "
                  "send(...), after(...), otherwise(...)");
    static_assert((0 + ... + int{Cases::is_otherwise}) <= 1,
                  "gmp::select: one otherwise(...) at most");
    const std::size_t n = sizeof...(Cases);
    std::int64_t until = GMP_FOREVER;
    std::size_t i = 0, late = no_case, otherwise = no_case;

    const auto look = [&](auto &c) {
        using Case = std::decay_t<decltype(c)>;
        c.begin(raw[i]);
        if constexpr (Case::is_otherwise)
            otherwise = i;
        if constexpr (Case::is_after)
            if (late == no_case || c.until() < until) {
                until = c.until();
                late = i;
            }
        i++;
    };
    (look(cases), ...);
    if (otherwise != no_case) {
        const int rc = gmp_try_select(raw, n);
        return rc == -EAGAIN ? static_cast<int>(otherwise) : rc;
    }
    if (late == no_case)
        return gmp_select(raw, n);
    const int rc = gmp_select_until(raw, n, until);
    return rc == -ETIMEDOUT ? static_cast<int>(late) : rc;
}

// Waits, ends all cases, and calls the handler of the one that has run.
template <class... Cases> int select(Cases &...cases)
{
    gmp_case raw[sizeof...(Cases) + 1]; // there is no array of none
    const int chosen = detail::wait_for_case(raw, cases...);
    int i = 0;

    ((cases.finish(i == chosen, raw[i].result), ++i), ...);
    if (chosen >= 0) {
        i = 0;
        ((i++ == chosen ? cases.run(raw[chosen].result) : void()), ...);
    }
    return chosen;
}

} // namespace detail

/// Waits until one of the cases can run, runs it, and then its handler; of
/// several that can, one at random. Returns the index of the case.
///
///     gmp::select(gmp::recv(jobs, [&](job j) { work(j); }),
///                 gmp::recv(stop, [&] { over = true; }),
///                 gmp::after(1s, [&] { report(); }));
///
/// Write the cases into the call: they refer to their arguments.
template <class... Cases>
std::size_t select(std::error_code &ec, Cases &&...cases)
{
    const int chosen = detail::select(cases...);
    ec = error(chosen);
    return chosen < 0 ? detail::no_case : static_cast<std::size_t>(chosen);
}

#if GMPRT_EXCEPTIONS
template <class... Cases> std::size_t select(Cases &&...cases)
{
    return static_cast<std::size_t>(
        check(detail::select(cases...), "gmp::select"));
}
#endif

// --- Locks -------------------------------------------------------------------

namespace detail {

// A wait for a lock that cannot fail but for want of memory, or in an unlockf.
inline void locked(int rc, const char *what)
{
    if (rc != 0)
        raise(rc, what);
}

// An unlock of what is not locked is a bug, and found in a destructor mostly.
inline void unlocked(int rc, const char *what) noexcept
{
    if (rc != 0)
        fatal(what, rc);
}

// What a wait with a deadline has decided.
inline bool in_time(int rc, const char *what)
{
    if (rc != 0 && rc != -ETIMEDOUT && rc != -EAGAIN)
        raise(rc, what);
    return rc == 0;
}

} // namespace detail

/// A mutex, for goroutines and host threads, of no owner: one may lock it and
/// another unlock it. A cancel does not end lock(), but the timed calls.
class GMPRT_CAPABILITY("mutex") mutex {
public:
    constexpr mutex() noexcept = default;
    mutex(const mutex &) = delete;
    mutex &operator=(const mutex &) = delete;

    void lock() GMPRT_ACQUIRE()
    {
        detail::locked(gmp_mutex_lock(&m_), "gmp::mutex::lock");
    }
    bool try_lock() noexcept GMPRT_TRY_ACQUIRE(true)
    {
        return gmp_mutex_trylock(&m_) == 0;
    }
    void unlock() noexcept GMPRT_RELEASE()
    {
        detail::unlocked(gmp_mutex_unlock(&m_), "gmp::mutex::unlock");
    }
    template <class Rep, class Period>
    bool try_lock_for(const std::chrono::duration<Rep, Period> &span)
        GMPRT_TRY_ACQUIRE(true)
    {
        return try_lock_at(gmp_after_ns(detail::span_ns(span)));
    }
    template <class Clock, class Span>
    bool try_lock_until(const std::chrono::time_point<Clock, Span> &point)
        GMPRT_TRY_ACQUIRE(true)
    {
        return try_lock_at(point);
    }

    using native_handle_type = gmp_mutex *;
    native_handle_type native_handle() noexcept { return &m_; }

private:
    template <class Until> bool try_lock_at(const Until &until)
    {
        return detail::in_time(detail::at(until,
                                          [this](std::int64_t ns) {
                                              return gmp_mutex_lock_until(&m_,
                                                                          ns);
                                          }),
                               "gmp::mutex");
    }

    gmp_mutex m_ = GMP_MUTEX_INIT;
};

using timed_mutex = mutex;

/// A mutex that many lock for reading, or one for writing. A writer that waits
/// keeps new readers out. A cancel ends the timed calls only.
class GMPRT_CAPABILITY("mutex") shared_mutex {
public:
    constexpr shared_mutex() noexcept = default;
    shared_mutex(const shared_mutex &) = delete;
    shared_mutex &operator=(const shared_mutex &) = delete;

    void lock() GMPRT_ACQUIRE()
    {
        detail::locked(gmp_rwmutex_lock(&m_), "gmp::shared_mutex::lock");
    }
    bool try_lock() noexcept GMPRT_TRY_ACQUIRE(true)
    {
        return gmp_rwmutex_trylock(&m_) == 0;
    }
    void unlock() noexcept GMPRT_RELEASE()
    {
        detail::unlocked(gmp_rwmutex_unlock(&m_), "gmp::shared_mutex::unlock");
    }
    template <class Rep, class Period>
    bool try_lock_for(const std::chrono::duration<Rep, Period> &span)
        GMPRT_TRY_ACQUIRE(true)
    {
        return try_lock_at(gmp_after_ns(detail::span_ns(span)));
    }
    template <class Clock, class Span>
    bool try_lock_until(const std::chrono::time_point<Clock, Span> &point)
        GMPRT_TRY_ACQUIRE(true)
    {
        return try_lock_at(point);
    }

    void lock_shared() GMPRT_ACQUIRE_SHARED()
    {
        detail::locked(gmp_rwmutex_rlock(&m_),
                       "gmp::shared_mutex::lock_shared");
    }
    bool try_lock_shared() noexcept GMPRT_TRY_ACQUIRE_SHARED(true)
    {
        return gmp_rwmutex_tryrlock(&m_) == 0;
    }
    void unlock_shared() noexcept GMPRT_RELEASE_SHARED()
    {
        detail::unlocked(gmp_rwmutex_runlock(&m_),
                         "gmp::shared_mutex::unlock_shared");
    }
    template <class Rep, class Period>
    bool try_lock_shared_for(const std::chrono::duration<Rep, Period> &span)
        GMPRT_TRY_ACQUIRE_SHARED(true)
    {
        return try_lock_shared_at(gmp_after_ns(detail::span_ns(span)));
    }
    template <class Clock, class Span>
    bool
    try_lock_shared_until(const std::chrono::time_point<Clock, Span> &point)
        GMPRT_TRY_ACQUIRE_SHARED(true)
    {
        return try_lock_shared_at(point);
    }

    using native_handle_type = gmp_rwmutex *;
    native_handle_type native_handle() noexcept { return &m_; }

private:
    template <class Until> bool try_lock_at(const Until &until)
    {
        return detail::in_time(detail::at(until,
                                          [this](std::int64_t ns) {
                                              return gmp_rwmutex_lock_until(&m_,
                                                                            ns);
                                          }),
                               "gmp::shared_mutex");
    }
    template <class Until> bool try_lock_shared_at(const Until &until)
    {
        return detail::in_time(detail::at(until,
                                          [this](std::int64_t ns) {
                                              return gmp_rwmutex_rlock_until(
                                                  &m_, ns);
                                          }),
                               "gmp::shared_mutex");
    }

    gmp_rwmutex m_ = GMP_RWMUTEX_INIT;
};

using shared_timed_mutex = shared_mutex;

/// A mutex that its owner may lock again. The owner is the goroutine, on
/// whatever thread it runs (std::recursive_mutex belongs to a thread), or the
/// host thread. An unlock by another one is a bug and ends the process.
class GMPRT_CAPABILITY("mutex") recursive_mutex {
public:
    constexpr recursive_mutex() noexcept = default;
    recursive_mutex(const recursive_mutex &) = delete;
    recursive_mutex &operator=(const recursive_mutex &) = delete;

    void lock() GMPRT_ACQUIRE() GMPRT_UNCHECKED
    {
        const std::uint64_t me = self();
        if (!again(me)) {
            m_.lock();
            begin(me);
        }
    }
    bool try_lock() GMPRT_TRY_ACQUIRE(true) GMPRT_UNCHECKED
    {
        const std::uint64_t me = self();
        return again(me) || begin_if(m_.try_lock(), me);
    }
    void unlock() noexcept GMPRT_RELEASE() GMPRT_UNCHECKED
    {
        if (owner_.load(std::memory_order_relaxed) != gmp_goid() || depth_ == 0)
            detail::fatal("gmp::recursive_mutex::unlock", -EPERM);
        if (--depth_ == 0) {
            owner_.store(0, std::memory_order_relaxed);
            m_.unlock();
        }
    }
    template <class Rep, class Period>
    bool try_lock_for(const std::chrono::duration<Rep, Period> &span)
        GMPRT_TRY_ACQUIRE(true) GMPRT_UNCHECKED
    {
        const std::uint64_t me = self();
        return again(me) || begin_if(m_.try_lock_for(span), me);
    }
    template <class Clock, class Span>
    bool try_lock_until(const std::chrono::time_point<Clock, Span> &point)
        GMPRT_TRY_ACQUIRE(true) GMPRT_UNCHECKED
    {
        const std::uint64_t me = self();
        return again(me) || begin_if(m_.try_lock_until(point), me);
    }

private:
    // A host thread has no number before it has waited once.
    static std::uint64_t self()
    {
        if (gmp_goid() == 0)
            detail::locked(gmp_sleep(1), "gmp::recursive_mutex");
        return gmp_goid();
    }
    // Only the owner finds its own number here, so it need not be ordered.
    bool again(std::uint64_t me) noexcept
    {
        if (owner_.load(std::memory_order_relaxed) != me)
            return false;
        ++depth_;
        return true;
    }
    void begin(std::uint64_t me) noexcept
    {
        owner_.store(me, std::memory_order_relaxed);
        depth_ = 1;
    }
    bool begin_if(bool locked, std::uint64_t me) noexcept
    {
        if (locked)
            begin(me);
        return locked;
    }

    mutex m_;
    std::atomic<std::uint64_t> owner_{0};
    std::size_t depth_ = 0; // the owner's
};

using recursive_timed_mutex = recursive_mutex;

/// std::lock_guard, with Clang's annotations, which libstdc++'s has not.
template <class Mutex> class [[nodiscard]] GMPRT_SCOPED lock_guard {
public:
    explicit lock_guard(Mutex &m) GMPRT_ACQUIRE(m) : m_(m) { m.lock(); }
    lock_guard(Mutex &m, std::adopt_lock_t)
        GMPRT_ANNOTATE(requires_capability(m))
        : m_(m)
    {
    }
    lock_guard(const lock_guard &) = delete;
    lock_guard &operator=(const lock_guard &) = delete;
    ~lock_guard() GMPRT_RELEASE() { m_.unlock(); }

private:
    Mutex &m_;
};

/// The same for reading.
template <class Mutex> class [[nodiscard]] GMPRT_SCOPED shared_lock_guard {
public:
    explicit shared_lock_guard(Mutex &m) GMPRT_ACQUIRE_SHARED(m) : m_(m)
    {
        m.lock_shared();
    }
    shared_lock_guard(const shared_lock_guard &) = delete;
    shared_lock_guard &operator=(const shared_lock_guard &) = delete;
    ~shared_lock_guard() GMPRT_RELEASE_GENERIC() { m_.unlock_shared(); }

private:
    Mutex &m_;
};

/// A condition variable for gmp::mutex. It does not wake without a notify. A
/// cancel ends a wait, with the mutex locked again.
class condition_variable {
public:
    constexpr condition_variable() noexcept = default;
    condition_variable(const condition_variable &) = delete;
    condition_variable &operator=(const condition_variable &) = delete;

    void notify_one() noexcept { gmp_cond_signal(&c_); }
    void notify_all() noexcept { gmp_cond_broadcast(&c_); }

#if GMPRT_EXCEPTIONS
    void wait(std::unique_lock<mutex> &lock)
    {
        check(wait_rc(lock, GMP_FOREVER), "gmp::condition_variable::wait");
    }
    template <class Predicate>
    void wait(std::unique_lock<mutex> &lock, Predicate until)
    {
        while (!until())
            wait(lock);
    }
    template <class Rep, class Period>
    std::cv_status wait_for(std::unique_lock<mutex> &lock,
                            const std::chrono::duration<Rep, Period> &span)
    {
        return wait_at(lock, gmp_after_ns(detail::span_ns(span)));
    }
    template <class Rep, class Period, class Predicate>
    bool wait_for(std::unique_lock<mutex> &lock,
                  const std::chrono::duration<Rep, Period> &span,
                  Predicate until)
    {
        return wait_at(lock, gmp_after_ns(detail::span_ns(span)), until);
    }
    template <class Clock, class Span>
    std::cv_status wait_until(std::unique_lock<mutex> &lock,
                              const std::chrono::time_point<Clock, Span> &point)
    {
        return wait_at(lock, point);
    }
    template <class Clock, class Span, class Predicate>
    bool wait_until(std::unique_lock<mutex> &lock,
                    const std::chrono::time_point<Clock, Span> &point,
                    Predicate until)
    {
        return wait_at(lock, point, until);
    }
#endif

    /// The twin of all these.
    void wait(std::unique_lock<mutex> &lock, std::error_code &ec,
              deadline until = {})
    {
        ec = error(wait_rc(lock, until.ns()));
    }
    /// The twin with a predicate; returns its last result.
    template <class Predicate>
    bool wait(std::unique_lock<mutex> &lock, Predicate predicate,
              std::error_code &ec, deadline until = {})
    {
        ec.clear();
        while (!predicate()) {
            if (ec)
                return false;
            wait(lock, ec, until);
        }
        ec.clear();
        return true;
    }

    using native_handle_type = gmp_cond *;
    native_handle_type native_handle() noexcept { return &c_; }

private:
    int wait_rc(std::unique_lock<mutex> &lock, std::int64_t until)
    {
        if (!lock.owns_lock())
            return -EPERM;
        return gmp_cond_wait_until(&c_, lock.mutex()->native_handle(), until);
    }
    template <class Until>
    std::cv_status wait_at(std::unique_lock<mutex> &lock, const Until &until)
    {
        const int rc = detail::at(
            until, [&](std::int64_t ns) { return wait_rc(lock, ns); });
        return detail::in_time(rc, "gmp::condition_variable")
                   ? std::cv_status::no_timeout
                   : std::cv_status::timeout;
    }
    template <class Until, class Predicate>
    bool wait_at(std::unique_lock<mutex> &lock, const Until &until,
                 Predicate &predicate)
    {
        while (!predicate())
            if (wait_at(lock, until) == std::cv_status::timeout)
                return predicate();
        return true;
    }

    gmp_cond c_ = GMP_COND_INIT;
};

/// A counting semaphore. First come, first served.
class semaphore {
public:
    /// With this many tokens, at most 2^31 - 1.
    constexpr explicit semaphore(std::uint32_t tokens) noexcept
        : s_ GMP_SEMA_INIT(tokens)
    {
    }
    semaphore(const semaphore &) = delete;
    semaphore &operator=(const semaphore &) = delete;

    static constexpr std::ptrdiff_t max() noexcept { return INT32_MAX; }

    /// Gives tokens.
    void release(std::ptrdiff_t tokens = 1)
    {
        for (; tokens > 0; tokens--)
            if (const int rc = gmp_sema_release(&s_))
                detail::raise(rc, "gmp::semaphore::release");
    }
    /// Takes a token if there is one. Never blocks.
    bool try_acquire() noexcept { return gmp_sema_try_acquire(&s_) == 0; }
    /// How many tokens there are now.
    std::int64_t value() const noexcept { return gmp_sema_value(&s_); }

#if GMPRT_EXCEPTIONS
    /// Takes a token: waits until there is one.
    void acquire() { check(gmp_sema_acquire(&s_), "gmp::semaphore::acquire"); }
    template <class Rep, class Period>
    bool try_acquire_for(const std::chrono::duration<Rep, Period> &span)
    {
        return acquire_at(gmp_after_ns(detail::span_ns(span)));
    }
    template <class Clock, class Span>
    bool try_acquire_until(const std::chrono::time_point<Clock, Span> &point)
    {
        return acquire_at(point);
    }
#endif
    /// The twin of all these.
    bool acquire(std::error_code &ec, deadline until = {}) noexcept
    {
        ec = error(gmp_sema_acquire_until(&s_, until.ns()));
        return !ec;
    }

    gmp_sema *native_handle() noexcept { return &s_; }

private:
    template <class Until> bool acquire_at(const Until &until)
    {
        return detail::in_time(detail::at(until,
                                          [this](std::int64_t ns) {
                                              return gmp_sema_acquire_until(&s_,
                                                                            ns);
                                          }),
                               "gmp::semaphore");
    }

    gmp_sema s_;
};

namespace detail {

// A function that a wait group counts, until it has ended.
template <class F> class counted {
public:
    template <class... Args>
    explicit counted(gmp_waitgroup &w, Args &&...args)
        : count_(w), f_(std::forward<Args>(args)...)
    {
    }
    void operator()() noexcept(noexcept(std::declval<F &>()())) { f_(); }

private:
    struct one {
        gmp_waitgroup &w;
        explicit one(gmp_waitgroup &group) : w(group)
        {
            if (const int rc = gmp_waitgroup_add(&w, 1))
                raise(rc, "gmp::wait_group::go");
        }
        one(const one &) = delete;
        one &operator=(const one &) = delete;
        ~one() { gmp_waitgroup_done(&w); }
    };

    one count_; // ends last
    F f_;
};

} // namespace detail

template <class F>
struct is_trivially_relocatable<detail::counted<F>>
    : is_trivially_relocatable<F> {};

/// A counter that one can wait for, as sync.WaitGroup.
class wait_group {
public:
    constexpr wait_group() noexcept = default;
    wait_group(const wait_group &) = delete;
    wait_group &operator=(const wait_group &) = delete;

    /// Adds to the counter. At zero all waiters go on; below it, and above
    /// 2^31 - 1, is an error.
    void add(std::int64_t delta = 1)
    {
        if (const int rc = gmp_waitgroup_add(&w_, delta))
            detail::raise(rc, "gmp::wait_group::add");
    }
    void done() { add(-1); }

    /// Starts a goroutine that calls f(args...) and then done(), also if
    /// gmp::cancelled leaves f. The wait group must outlive it.
    template <class F, class... Args> void go(F &&f, Args &&...args)
    {
        static_assert(detail::callable<F, Args...>,
                      "gmp::wait_group::go: the function cannot be called with "
                      "copies of these arguments; std::ref passes a reference");
        if constexpr (detail::callable<F, Args...>) {
            using call = detail::counted<detail::bound_t<F, Args...>>;
            const int rc = detail::start_detached<call>(
                nullptr, w_, std::forward<F>(f), std::forward<Args>(args)...);
            if (rc != 0)
                detail::raise(rc, "gmp::wait_group::go");
        }
    }

#if GMPRT_EXCEPTIONS
    /// Waits until the counter is zero, or has been since the call began.
    void wait() { check(gmp_waitgroup_wait(&w_), "gmp::wait_group::wait"); }
    template <class Rep, class Period>
    bool wait_for(const std::chrono::duration<Rep, Period> &span)
    {
        return wait_at(gmp_after_ns(detail::span_ns(span)));
    }
    template <class Clock, class Span>
    bool wait_until(const std::chrono::time_point<Clock, Span> &point)
    {
        return wait_at(point);
    }
#endif
    /// The twin of all these.
    void wait(std::error_code &ec, deadline until = {}) noexcept
    {
        ec = error(gmp_waitgroup_wait_until(&w_, until.ns()));
    }
    /// Whether the counter is zero.
    bool try_wait() noexcept { return gmp_waitgroup_wait_until(&w_, 0) == 0; }

    gmp_waitgroup *native_handle() noexcept { return &w_; }

private:
    template <class Until> bool wait_at(const Until &until)
    {
        return detail::in_time(detail::at(until,
                                          [this](std::int64_t ns) {
                                              return gmp_waitgroup_wait_until(
                                                  &w_, ns);
                                          }),
                               "gmp::wait_group");
    }

    gmp_waitgroup w_ = GMP_WAITGROUP_INIT;
};

/// A counter that goes down to zero once. It must outlive all waits.
class latch {
public:
    explicit latch(std::ptrdiff_t count)
    {
        if (const int rc = gmp_waitgroup_add(&w_, count))
            detail::raise(rc, "gmp::latch");
    }
    latch(const latch &) = delete;
    latch &operator=(const latch &) = delete;

    void count_down(std::ptrdiff_t n = 1)
    {
        if (const int rc = gmp_waitgroup_add(&w_, -n))
            detail::raise(rc, "gmp::latch::count_down");
    }
    bool try_wait() noexcept { return gmp_waitgroup_wait_until(&w_, 0) == 0; }

#if GMPRT_EXCEPTIONS
    /// Waits until the counter is zero.
    void wait() { check(gmp_waitgroup_wait(&w_), "gmp::latch::wait"); }
    void arrive_and_wait(std::ptrdiff_t n = 1)
    {
        count_down(n);
        wait();
    }
#endif
    /// The twin.
    void wait(std::error_code &ec, deadline until = {}) noexcept
    {
        ec = error(gmp_waitgroup_wait_until(&w_, until.ns()));
    }

private:
    gmp_waitgroup w_ = GMP_WAITGROUP_INIT;
};

/// A meeting point for `count` callers, round after round. A caller that a
/// cancel or a deadline reaches leaves the round as if it had not come.
class barrier {
public:
    constexpr explicit barrier(std::uint32_t count) noexcept
        : b_ GMP_BARRIER_INIT(count)
    {
    }
    barrier(const barrier &) = delete;
    barrier &operator=(const barrier &) = delete;

#if GMPRT_EXCEPTIONS
    /// Waits until all have come. True for one of them.
    bool arrive_and_wait()
    {
        return check(gmp_barrier_wait(&b_), "gmp::barrier") == 1;
    }
#endif
    /// The twin.
    bool arrive_and_wait(std::error_code &ec, deadline until = {}) noexcept
    {
        const int rc = gmp_barrier_wait_until(&b_, until.ns());
        ec = error(rc);
        return rc == 1;
    }

    gmp_barrier *native_handle() noexcept { return &b_; }

private:
    gmp_barrier b_;
};

/// Of call_once().
class once_flag {
public:
    constexpr once_flag() noexcept = default;
    once_flag(const once_flag &) = delete;
    once_flag &operator=(const once_flag &) = delete;

    gmp_once *native_handle() noexcept { return &o_; }

private:
    gmp_once o_ = GMP_ONCE_INIT;
};

/// Calls f(args...) unless a call with `flag` is done; if one is under way,
/// waits for its end, which a cancel does not end. An exception of f's goes on
/// to the caller, and the next one makes the call again.
template <class F, class... Args>
void call_once(once_flag &flag, F &&f, Args &&...args)
{
    static_assert(std::is_invocable_v<F, Args...>,
                  "gmp::call_once: the function cannot be called with these "
                  "arguments");
    if constexpr (std::is_invocable_v<F, Args...>) {
        auto call = [&] {
            std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
        };
        using closure = decltype(call);
        detail::locked(gmp_once_do(
                           flag.native_handle(),
                           [](void *c) { (*static_cast<closure *>(c))(); },
                           &call),
                       "gmp::call_once");
    }
}

// --- Groups ------------------------------------------------------------------

/// Goroutines that belong together, its members: the first failure of one
/// cancels all, and none outlives the group. A group that a member of another
/// one makes is nested: a cancel of the outer cancels the inner.
///
///     gmp::group pages;
///     for (const std::string &url : urls)
///         pages.go([&] { fetch(url); });
///     pages.wait(); // throws what the first failed fetch has thrown
class group {
public:
    group() : group_(gmp_group_make())
    {
        if (!group_)
            detail::raise(-ENOMEM, "gmp::group");
    }
    group(const group &) = delete;
    group &operator=(const group &) = delete;

    /// Cancels the members and waits until they have ended. A cancel of the
    /// caller's does not end that wait. Failures are forgotten.
    ~group() { gmp_group_free(group_); }

    /// Starts a member that calls f(args...) with copies of f and args. It
    /// fails by an exception, or by returning a std::error_code that is one. A
    /// member that gmp::cancelled ends has not failed. In a cancelled group a
    /// member starts cancelled. Never blocks.
    template <class F, class... Args> void go(F &&f, Args &&...args)
    {
        using bound = detail::bound_t<F, Args...>;
        static_assert(detail::callable<F, Args...>,
                      "gmp::group::go: the function cannot be called with "
                      "copies of these arguments; std::ref passes a reference");
        if constexpr (detail::callable<F, Args...>) {
            using R = std::invoke_result_t<bound &>;
            static_assert(std::is_void_v<R> ||
                              std::is_same_v<R, std::error_code>,
                          "gmp::group::go: a member returns nothing or a "
                          "std::error_code");
            const int rc = begin<bound, std::is_void_v<R>>(
                std::forward<F>(f), std::forward<Args>(args)...);
            if (rc != 0)
                detail::raise(rc, "gmp::group::go");
        }
    }

    /// Cancels all members, also those that start later. Never blocks.
    void cancel() noexcept { gmp_group_cancel(group_); }

#if GMPRT_EXCEPTIONS
    /// Waits until all members have ended. Throws the exception of the first
    /// that has failed (thrown_by() tells which), or std::system_error with its
    /// error code. More can be started and waited for afterwards; a failure
    /// stays. gmp::cancelled means the caller: the members go on.
    void wait()
    {
        const int rc = gmp_group_wait(group_);
        if (rc < 0)
            detail::raise(rc, "gmp::group::wait");
        if (rc > 0)
            failed();
    }
#endif
    /// The twin; an exception of a member is thrown all the same.
    void wait(std::error_code &ec, deadline until = {})
    {
        const int rc = gmp_group_wait_until(group_, until.ns());
        ec = rc > 0 ? code_ : error(rc);
#if GMPRT_EXCEPTIONS
        if (rc > 0 && failed_)
            failed();
#endif
    }

    gmp_group *native_handle() const noexcept { return group_; }

private:
    enum { good = 0, bad = 1 };

    template <class F> struct member : detail::kept {
        group &in;
        F f;

        template <class... Args>
        explicit member(group &g, Args &&...args)
            : in(g), f(std::forward<Args>(args)...)
        {
        }
        static int run(void *self)
        {
            std::unique_ptr<member> m(static_cast<member *>(self));
            return m->in.call(m->f);
        }
    };

    template <class F> static int run_word(void *argument)
    {
        detail::word<F> f(argument);
        const detail::ends end(f);
        f.value();
        return good;
    }

    template <class F, bool Void, class... Args> int begin(Args &&...args)
    {
        if constexpr (Void && detail::fits_word<F> &&
                      noexcept(std::declval<F &>()())) {
            detail::word<F> f;
            f.make(std::forward<Args>(args)...);
            const int rc = gmp_group_go(group_, run_word<F>, f.argument());
            if (rc != 0)
                f.end();
            return rc;
        } else {
            const auto m = new (std::nothrow)
                member<F>(*this, std::forward<Args>(args)...);
            if (!m)
                return -ENOMEM;
            const int rc = gmp_group_go(group_, member<F>::run, m);
            if (rc != 0)
                delete m;
            return rc;
        }
    }

    // On the member: its result for the group.
    template <class F> int call(F &f)
    {
        std::error_code code;
        auto failed = detail::failure_of([&]() noexcept(noexcept(f())) {
            if constexpr (std::is_void_v<decltype(f())>)
                f();
            else
                code = f();
        });
#if GMPRT_EXCEPTIONS
        if (failed && failed->error) {
            if (claim())
                failed_ = std::move(failed);
            return bad;
        }
#endif
        if (code) {
            if (claim())
                code_ = code;
            return bad;
        }
        return good;
    }

    // The first failure is kept; the wait makes it visible.
    bool claim() noexcept
    {
        return !claimed_.exchange(true, std::memory_order_relaxed);
    }

#if GMPRT_EXCEPTIONS
    [[noreturn]] void failed()
    {
        if (failed_) {
            detail::failure copy = *failed_;
            detail::rethrow(copy);
        }
        throw std::system_error(code_, "gmp::group::wait");
    }
#endif

    gmp_group *group_;
    std::atomic<bool> claimed_{false};
    std::error_code code_;
#if GMPRT_EXCEPTIONS
    std::unique_ptr<detail::failure> failed_;
#endif
};

// --- Storage -----------------------------------------------------------------

/// A T for each goroutine and each host thread that asks for it: what
/// thread_local is for threads. It is destroyed when the goroutine or thread
/// ends, after what gmp_defer has deferred. Give it static storage: a local
/// that is destroyed leaves the Ts of others as they are.
template <class T> class local {
    static_assert(std::is_object_v<T> && std::is_destructible_v<T>,
                  "gmp::local<T>: T must be a type of objects");

public:
    /// Each T begins as T().
    local() : local([] { return T(); }) {}

    /// Each T begins as make().
    template <
        class Make,
        std::enable_if_t<!std::is_same_v<std::decay_t<Make>, local>, int> = 0>
    explicit local(Make make)
        : make_(function_of(make)), key_(gmp_key_create(destroy))
    {
        if (!key_)
            detail::raise(-EAGAIN, "gmp::local: all keys are taken");
    }
    local(const local &) = delete;
    local &operator=(const local &) = delete;
    ~local()
    {
        destroy(gmp_getspecific(key_));
        gmp_key_delete(key_);
    }

    /// The caller's T, which is made first if there is none.
    T &get()
    {
        T *value = find();
        return value ? *value : first();
    }
    T &operator*() { return get(); }
    T *operator->() { return std::addressof(get()); }

    /// The caller's T, or null if there is none.
    T *find() const noexcept
    {
        const auto made = static_cast<box *>(gmp_getspecific(key_));
        return made ? std::addressof(made->value) : nullptr;
    }

private:
    using box = detail::kept_box<T>;

    static void destroy(void *made) { delete static_cast<box *>(made); }

    template <class Make> static std::function<T()> function_of(Make &make)
    {
        static_assert(std::is_invocable_r_v<T, Make &>,
                      "gmp::local<T>: the function does not make a T");
        if constexpr (std::is_invocable_r_v<T, Make &>)
            return std::move(make);
        else
            return {};
    }

    T &first()
    {
        std::unique_ptr<box> made(new box(make_));
        if (const int rc = gmp_setspecific(key_, made.get()))
            detail::raise(rc, "gmp::local");
        return made.release()->value;
    }

    std::function<T()> make_;
    gmp_key *key_;
};

// --- Heap --------------------------------------------------------------------
//
// Memory that is freed once nothing points into it, as gmp_gc_alloc() has it:
// pointers to it must lie where collections look. Without memory, and in the
// child of a fork that came after the first use of the heap, std::bad_alloc is
// thrown.

/// Whether a T never holds a pointer to collected memory, so that collections
/// need not look into it: numbers and enumerations. Specialise it for structs
/// of these; a number that is really an address keeps nothing then.
template <class T>
struct gc_noscan
    : std::bool_constant<std::is_arithmetic_v<T> || std::is_enum_v<T>> {};

namespace detail {

// What gmp_gc_alloc aligns to.
constexpr std::size_t gc_alignment = 16;

template <class T> struct gc_check {
    static_assert(std::is_object_v<T>, "gmp::gc_new<T>: T must be an object");
    static_assert(alignof(T) <= gc_alignment,
                  "gmp::gc_new<T>: T is aligned to more than 16 bytes");
    static_assert(std::is_trivially_destructible_v<T>,
                  "gmp::gc_new<T>: T has a destructor, and collections run "
                  "none");
};

template <class T>
constexpr bool gc_is_noscan =
    gc_noscan<std::remove_cv_t<std::remove_all_extents_t<T>>>::value;

// Room for n Ts.
template <class T> void *gc_room(std::size_t n)
{
    if (n > static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(T))
        raise(-ENOMEM, "gmp: collected memory");
    void *const room = gc_is_noscan<T> ? gmp_gc_alloc_noscan(n * sizeof(T))
                                       : gmp_gc_alloc(n * sizeof(T));
    if (!room)
        raise(-ENOMEM, "gmp: collected memory");
    return room;
}

} // namespace detail

/// Makes a T of the arguments in collected memory. Nobody deletes it, and no
/// destructor runs: T must do without one.
template <class T, class... Args> T *gc_new(Args &&...args)
{
    static_assert(!std::is_array_v<T>,
                  "gmp::gc_new<T>: take gc_new_array for an array");
    static_cast<void>(detail::gc_check<T>());
    return ::new (detail::gc_room<T>(1)) T(std::forward<Args>(args)...);
}

/// Makes n Ts, each T(), in collected memory.
template <class T> T *gc_new_array(std::size_t n)
{
    static_assert(!std::is_array_v<T>,
                  "gmp::gc_new_array<T>: T must not be an array itself");
    static_cast<void>(detail::gc_check<T>());
    T *const all = static_cast<T *>(detail::gc_room<T>(n));
    std::uninitialized_value_construct_n(all, n);
    return all;
}

/// The allocator of the collected heap, for containers of the standard library:
/// std::vector<T, gmp::gc_allocator<T>>. What a container lets go is freed at
/// once; what belongs to a container that is never destroyed goes when nothing
/// points to it. The container itself lies where collections look.
template <class T> class gc_allocator {
    static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                  "gmp::gc_allocator<T>: T must be an object that can change");

public:
    using value_type = T;
    using is_always_equal = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;

    constexpr gc_allocator() noexcept = default;
    template <class U>
    constexpr gc_allocator(const gc_allocator<U> &) noexcept // NOLINT: implicit
    {
    }

    T *allocate(std::size_t n)
    {
        static_assert(alignof(T) <= detail::gc_alignment,
                      "gmp::gc_allocator<T>: T is aligned to more than 16 "
                      "bytes");
        return static_cast<T *>(detail::gc_room<T>(n));
    }
    void deallocate(T *all, std::size_t) noexcept
    {
        // Where the heap stands still, in the child of a fork, it stays.
        static_cast<void>(gmp_gc_free(all));
    }
    friend constexpr bool operator==(gc_allocator, gc_allocator) noexcept
    {
        return true;
    }
    friend constexpr bool operator!=(gc_allocator, gc_allocator) noexcept
    {
        return false;
    }
};

// --- Descriptors -------------------------------------------------------------
//
// They take any descriptor. A goroutine that waits in one of them costs no
// thread. Deadlines are a last argument: read(fd, buffer, 5s); without one, or
// with deadline(), they wait for ever.

namespace detail {

// The elements of what has data() and size(); nothing for a buffer itself.
template <class C>
using data_of = std::enable_if_t<
    !std::is_void_v<
        std::remove_pointer_t<decltype(std::data(std::declval<C>()))>> &&
        !std::is_array_v<std::remove_reference_t<C>>,
    std::remove_pointer_t<decltype(std::data(std::declval<C>()))>>;

} // namespace detail

/// Bytes to read into: an array, or anything with data() and size() whose
/// elements are no more than bytes, as std::string, std::vector, std::span.
class mutable_buffer {
public:
    constexpr mutable_buffer(void *data, std::size_t bytes) noexcept
        : data_(data), size_(bytes)
    {
    }
    template <class E, std::size_t N>
    constexpr mutable_buffer(E (&into)[N]) noexcept
        : data_(into), size_(sizeof into)
    {
        bytes_only<E>();
    }
    template <class C, class E = detail::data_of<C>>
    constexpr mutable_buffer(C &&into) noexcept
        : data_(const_cast<std::remove_const_t<E> *>(std::data(into))),
          size_(std::size(into) * sizeof(E))
    {
        bytes_only<E>();
    }

    constexpr void *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }

private:
    template <class E> static constexpr void bytes_only() noexcept
    {
        static_assert(std::is_trivially_copyable_v<E> && !std::is_const_v<E>,
                      "gmp: what is read into must have elements that are "
                      "trivially copyable and not const");
    }

    void *data_;
    std::size_t size_;
};

/// Bytes to write: the same, also of const elements. Of a string literal the
/// NUL is left out.
class const_buffer {
public:
    constexpr const_buffer(const void *data, std::size_t bytes) noexcept
        : data_(data), size_(bytes)
    {
    }
    constexpr const_buffer(const mutable_buffer &b) noexcept
        : data_(b.data()), size_(b.size())
    {
    }
    template <std::size_t N>
    constexpr const_buffer(const char (&literal)[N]) noexcept
        : data_(literal), size_(N - 1)
    {
    }
    template <class E, std::size_t N>
    constexpr const_buffer(E (&of)[N]) noexcept : data_(of), size_(sizeof of)
    {
        bytes_only<E>();
    }
    template <class C, class E = detail::data_of<const C &>>
    constexpr const_buffer(const C &of) noexcept
        : data_(std::data(of)), size_(std::size(of) * sizeof(E))
    {
        bytes_only<E>();
    }

    constexpr const void *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }

private:
    template <class E> static constexpr void bytes_only() noexcept
    {
        static_assert(std::is_trivially_copyable_v<E>,
                      "gmp: what is written must have elements that are "
                      "trivially copyable");
    }

    const void *data_;
    std::size_t size_;
};

namespace detail {

inline std::size_t count(ssize_t result, std::error_code &ec) noexcept
{
    ec = error(result);
    return result < 0 ? 0 : static_cast<std::size_t>(result);
}

// A NUL-terminated string, of whatever kind.
class c_string {
public:
    c_string(const char *text) noexcept : text_(text) {}
    c_string(const std::string &text) noexcept : text_(text.c_str()) {}
    const char *get() const noexcept { return text_; }

private:
    const char *text_;
};

} // namespace detail

/// Owns a descriptor, and closes it by gmp_close.
class descriptor {
public:
    /// No descriptor.
    constexpr descriptor() noexcept = default;
    constexpr explicit descriptor(int owned) noexcept : fd_(owned) {}
    descriptor(descriptor &&other) noexcept : fd_(other.release()) {}
    descriptor &operator=(descriptor &&other) noexcept
    {
        if (this != &other) {
            close();
            fd_ = other.release();
        }
        return *this;
    }
    ~descriptor() { close(); }

    explicit operator bool() const noexcept { return fd_ >= 0; }
    /// The number; -1 if there is none.
    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }

    /// Closes it: calls that wait on it fail with bad_file_descriptor. Returns
    /// the error of close(2).
    std::error_code close() noexcept
    {
        return fd_ < 0 ? std::error_code() : error(gmp_close(release()));
    }

private:
    int fd_ = -1;
};

template <> struct is_trivially_relocatable<descriptor> : std::true_type {};

#if GMPRT_EXCEPTIONS
/// Reads what there is, as read(2): waits until there is some. 0 at the end.
inline std::size_t read(int fd, mutable_buffer into, deadline until = {})
{
    return static_cast<std::size_t>(check(
        gmp_read_until(fd, into.data(), into.size(), until.ns()), "gmp::read"));
}
/// Writes some of it, as write(2): waits until some can be written.
inline std::size_t write(int fd, const_buffer from, deadline until = {})
{
    return static_cast<std::size_t>(
        check(gmp_write_until(fd, from.data(), from.size(), until.ns()),
              "gmp::write"));
}
/// Reads up to `into.size()` bytes from a file at `offset`, as pread(2).
inline std::size_t pread(int fd, mutable_buffer into, std::int64_t offset,
                         deadline until = {})
{
    return static_cast<std::size_t>(
        check(gmp_pread_until(fd, into.data(), into.size(), offset, until.ns()),
              "gmp::pread"));
}
/// Writes to a file at `offset`, as pwrite(2).
inline std::size_t pwrite(int fd, const_buffer from, std::int64_t offset,
                          deadline until = {})
{
    return static_cast<std::size_t>(check(
        gmp_pwrite_until(fd, from.data(), from.size(), offset, until.ns()),
        "gmp::pwrite"));
}
/// Accepts a connection from a socket that listens.
inline descriptor accept(int fd, deadline until = {})
{
    return descriptor(check(gmp_accept_until(fd, nullptr, nullptr, until.ns()),
                            "gmp::accept"));
}
/// Connects to an address, as gmp_dial: dial("tcp", "host:80", 5s).
inline descriptor dial(detail::c_string network, detail::c_string address,
                       deadline until = {})
{
    return descriptor(check(
        gmp_dial_until(network.get(), address.get(), until.ns()), "gmp::dial"));
}
/// Makes a socket that listens, as gmp_listen.
inline descriptor listen(detail::c_string network, detail::c_string address)
{
    return descriptor(
        check(gmp_listen(network.get(), address.get()), "gmp::listen"));
}
/// Opens a file, as open(2).
inline descriptor open(detail::c_string path, int flags, mode_t mode,
                       deadline until = {})
{
    return descriptor(check(gmp_open_until(path.get(), flags, mode, until.ns()),
                            "gmp::open"));
}
/// Writes to the disk what the kernel keeps of a file, as fsync(2).
inline void fsync(int fd, deadline until = {})
{
    check(gmp_fsync_until(fd, until.ns()), "gmp::fsync");
}
/// Waits until a descriptor is ready for one of `events`, GMP_READABLE,
/// GMP_WRITABLE or both. Returns those that it is ready for.
inline int wait_fd(int fd, int events, deadline until = {})
{
    return check(gmp_wait_fd(fd, events, until.ns()), "gmp::wait_fd");
}
/// Reads until `into` is full, or the end comes; returns how much it read.
inline std::size_t read_full(int fd, mutable_buffer into, deadline until = {})
{
    std::size_t done = 0;
    check(gmp_read_full_until(fd, into.data(), into.size(), &done, until.ns()),
          "gmp::read_full");
    return done;
}
/// Writes all of it.
inline void write_all(int fd, const_buffer from, deadline until = {})
{
    check(
        gmp_write_all_until(fd, from.data(), from.size(), nullptr, until.ns()),
        "gmp::write_all");
}
#endif

// The twins. After an error read_full and write_all return how much was done.
inline std::size_t read(int fd, mutable_buffer into, std::error_code &ec,
                        deadline until = {})
{
    return detail::count(
        gmp_read_until(fd, into.data(), into.size(), until.ns()), ec);
}
inline std::size_t write(int fd, const_buffer from, std::error_code &ec,
                         deadline until = {})
{
    return detail::count(
        gmp_write_until(fd, from.data(), from.size(), until.ns()), ec);
}
inline std::size_t pread(int fd, mutable_buffer into, std::int64_t offset,
                         std::error_code &ec, deadline until = {})
{
    return detail::count(
        gmp_pread_until(fd, into.data(), into.size(), offset, until.ns()), ec);
}
inline std::size_t pwrite(int fd, const_buffer from, std::int64_t offset,
                          std::error_code &ec, deadline until = {})
{
    return detail::count(
        gmp_pwrite_until(fd, from.data(), from.size(), offset, until.ns()), ec);
}
inline descriptor accept(int fd, std::error_code &ec, deadline until = {})
{
    const int rc = gmp_accept_until(fd, nullptr, nullptr, until.ns());
    ec = error(rc);
    return descriptor(rc < 0 ? -1 : rc);
}
inline descriptor dial(detail::c_string network, detail::c_string address,
                       std::error_code &ec, deadline until = {})
{
    const int rc = gmp_dial_until(network.get(), address.get(), until.ns());
    ec = error(rc);
    return descriptor(rc < 0 ? -1 : rc);
}
inline descriptor listen(detail::c_string network, detail::c_string address,
                         std::error_code &ec)
{
    const int rc = gmp_listen(network.get(), address.get());
    ec = error(rc);
    return descriptor(rc < 0 ? -1 : rc);
}
inline descriptor open(detail::c_string path, int flags, mode_t mode,
                       std::error_code &ec, deadline until = {})
{
    const int rc = gmp_open_until(path.get(), flags, mode, until.ns());
    ec = error(rc);
    return descriptor(rc < 0 ? -1 : rc);
}
inline void fsync(int fd, std::error_code &ec, deadline until = {})
{
    ec = error(gmp_fsync_until(fd, until.ns()));
}
inline int wait_fd(int fd, int events, std::error_code &ec, deadline until = {})
{
    const int rc = gmp_wait_fd(fd, events, until.ns());
    ec = error(rc);
    return rc < 0 ? 0 : rc;
}
inline std::size_t read_full(int fd, mutable_buffer into, std::error_code &ec,
                             deadline until = {})
{
    std::size_t done = 0;
    ec = error(
        gmp_read_full_until(fd, into.data(), into.size(), &done, until.ns()));
    return done;
}
inline std::size_t write_all(int fd, const_buffer from, std::error_code &ec,
                             deadline until = {})
{
    std::size_t done = 0;
    ec = error(
        gmp_write_all_until(fd, from.data(), from.size(), &done, until.ns()));
    return done;
}

} // inline namespace
} // namespace gmp

#undef GMPRT_ACQUIRE
#undef GMPRT_ACQUIRE_SHARED
#undef GMPRT_ANNOTATE
#undef GMPRT_CAPABILITY
#undef GMPRT_EXCEPTIONS
#undef GMPRT_RELEASE
#undef GMPRT_RELEASE_GENERIC
#undef GMPRT_RELEASE_SHARED
#undef GMPRT_SCOPED
#undef GMPRT_TRY_ACQUIRE
#undef GMPRT_TRY_ACQUIRE_SHARED
#undef GMPRT_UNCHECKED

#endif // GMPRT_GMPRT_HPP
