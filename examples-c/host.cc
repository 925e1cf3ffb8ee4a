// C++ beside and inside goroutines: host threads start them, and exceptions
// are thrown and caught in them, with a switch to other goroutines while an
// exception is being handled.
#include <gmp.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int threads = 4, goroutines_each = 50;

// Runs f on a goroutine of its own. What f throws and does not catch ends the
// program, as on a thread.
void go(std::function<void()> f)
{
    auto boxed = std::make_unique<std::function<void()>>(std::move(f));
    auto run = [](void *arg) {
        auto f = static_cast<std::function<void()> *>(arg);
        std::unique_ptr<std::function<void()>> owner(f);
        (*f)();
    };
    if (int rc = gmp_go(run, boxed.get()))
        throw std::runtime_error(gmp_strerror(rc));
    boxed.release();
}

enum Event { accepted, refused, intact, muddled };

// Sends what became of n. Odd numbers are refused, and that is sent from
// within the catch block: others run while this exception is in flight here.
void check_number(gmp_chan *events, int n)
{
    auto tell = [=](Event event) { gmp_chan_send(events, &event); };
    try {
        try {
            if (n % 2 != 0)
                throw std::invalid_argument(std::to_string(n));
            tell(accepted);
        } catch (const std::invalid_argument &) {
            tell(refused);
            throw; // still the same one?
        }
    } catch (const std::invalid_argument &e) {
        tell(e.what() == std::to_string(n) ? intact : muddled);
    }
    gmp_chan_unref(events);
}

} // namespace

int main()
{
    gmp_chan *events = gmp_chan_make(sizeof(Event), 0);
    std::vector<std::thread> hosts;
    for (int t = 0; t < threads; t++)
        hosts.emplace_back([=] {
            for (int i = 0; i < goroutines_each; i++) {
                gmp_chan_ref(events);
                go([=] { check_number(events, t * goroutines_each + i); });
            }
        });

    int seen[4] = {}; // two events from an odd number, one from an even one
    for (int i = 0; i < threads * goroutines_each * 3 / 2; i++) {
        Event event;
        gmp_chan_recv(events, &event);
        seen[event]++;
    }
    for (auto &host : hosts)
        host.join();
    gmp_chan_unref(events);
    std::printf("%d accepted, %d refused, %d exceptions intact\n",
                seen[accepted], seen[refused], seen[intact]);
}
