// A chat server: lines that one client sends go to all others.
//
//     chat 127.0.0.1:6060 &      # port 0 takes any; the first line tells which
//     nc 127.0.0.1 6060          # the first line is your name; /who, /quit
//
// Each client has a goroutine that reads and one that writes, with a channel of
// lines between the room and the writer. A client that does not keep up is put
// out. SIGTERM and SIGINT end the server, after a last word to everybody.
#include <gmprt.hpp>

#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <map>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>

using namespace std::chrono_literals;

namespace {

constexpr std::size_t longest_line = 1000, lines_behind = 64;

class room {
public:
    // The lines for a newcomer; an empty handle if the name is taken.
    gmp::receiver<std::string> enter(const std::string &name)
    {
        gmp::channel<std::string> lines(lines_behind);
        gmp::lock_guard<gmp::mutex> guard(lock_);
        if (!members_.emplace(name, lines).second)
            return {};
        tell(name + " is here", name);
        return lines;
    }

    void leave(const std::string &name)
    {
        gmp::lock_guard<gmp::mutex> guard(lock_);
        const auto member = members_.find(name);
        if (member == members_.end())
            return;
        member->second.close();
        members_.erase(member);
        tell(name + " has left", name);
    }

    void say(const std::string &name, const std::string &line)
    {
        gmp::lock_guard<gmp::mutex> guard(lock_);
        tell(name + ": " + line, name);
    }

    void answer_who(const std::string &name)
    {
        gmp::lock_guard<gmp::mutex> guard(lock_);
        std::string all = "here:";
        for (const auto &[other, lines] : members_)
            all += ' ' + other;
        static_cast<void>(members_.at(name).try_send(all));
    }

    // Says a last line to all, whose writers end after it.
    void close(const std::string &line)
    {
        gmp::lock_guard<gmp::mutex> guard(lock_);
        tell(line, "");
        for (auto &[name, lines] : members_)
            lines.close();
    }

private:
    // With lock_ locked: to all but one.
    void tell(const std::string &line, const std::string &but)
    {
        for (auto &[name, lines] : members_)
            if (name != but &&
                lines.try_send(line) == gmp::channel_status::full)
                lines.close(); // too slow: its writer hangs up
    }

    gmp::mutex lock_; // of all below
    std::map<std::string, gmp::sender<std::string>> members_;
};

// The lines that a client sends.
class line_reader {
public:
    explicit line_reader(int fd) : fd_(fd) {}

    std::optional<std::string> next()
    {
        for (;;) {
            const std::size_t end = buffer_.find('\n');
            if (end != std::string::npos) {
                std::string line = buffer_.substr(0, end);
                buffer_.erase(0, end + 1);
                if (!line.empty() && line.back() == '\r')
                    line.pop_back();
                return line;
            }
            char some[512];
            const std::size_t n = gmp::read(fd_, some);
            if (n == 0 || buffer_.size() > longest_line)
                return std::nullopt;
            buffer_.append(some, n);
        }
    }

private:
    int fd_;
    std::string buffer_;
};

// Writes what comes, and at its end hangs up, which ends the reader.
void write_lines(int fd, const gmp::receiver<std::string> &lines)
{
    std::error_code ec;
    for (std::string &line : lines) {
        line += '\n';
        gmp::write_all(fd, line, ec, 10s);
        if (ec)
            break;
    }
    ::shutdown(fd, SHUT_RDWR);
}

void serve(room &all, const gmp::descriptor &client)
{
    const int fd = client.get();
    line_reader in(fd);
    gmp::write_all(fd, "your name?\n");
    const std::optional<std::string> name = in.next();
    if (!name || name->empty())
        return;
    const gmp::receiver<std::string> lines = all.enter(*name);
    if (!lines) {
        gmp::write_all(fd, "there is one already\n");
        return;
    }
    gmp::this_goroutine::set_name(*name);
    gmp::task<void> writer(write_lines, fd, lines);
    // Whatever ends the loop, a cancel or a lost connection too.
    struct leaves {
        room &r;
        const std::string &name;
        ~leaves() { r.leave(name); }
    } at_the_end{all, *name};
    while (const std::optional<std::string> line = in.next()) {
        if (*line == "/quit")
            break;
        if (*line == "/who")
            all.answer_who(*name);
        else if (!line->empty())
            all.say(*name, *line);
    }
}

void accept_clients(gmp::group &clients, room &all, int listener)
{
    for (;;) {
        std::error_code ec;
        gmp::descriptor client = gmp::accept(listener, ec);
        if (ec == std::errc::operation_canceled)
            return;
        if (ec) { // too many files are open: one may be closed soon
            std::fprintf(stderr, "accept: %s\n", ec.message().c_str());
            gmp::sleep_for(100ms);
            continue;
        }
        clients.go(
            [&all](const gmp::descriptor &fd) {
                try {
                    serve(all, fd);
                } catch (const std::system_error &e) {
                    std::fprintf(stderr, "a client is lost: %s\n", e.what());
                }
            },
            std::move(client));
    }
}

} // namespace

int main(int argc, char **argv)
try {
    const gmp::channel<int> signals(1);
    gmp::check(gmp_signal_notify(signals.native_handle(), SIGTERM), "SIGTERM");
    gmp::check(gmp_signal_notify(signals.native_handle(), SIGINT), "SIGINT");
    const gmp::descriptor listener =
        gmp::listen("tcp", argc > 1 ? argv[1] : "127.0.0.1:6060");
    sockaddr_in address{};
    socklen_t length = sizeof address;
    ::getsockname(listener.get(), reinterpret_cast<sockaddr *>(&address),
                  &length);
    std::printf("listening on port %d\n", ntohs(address.sin_port));
    std::fflush(stdout);

    room all;
    gmp::group clients;
    gmp::task<void> doorman(accept_clients, std::ref(clients), std::ref(all),
                            listener.get());
    static_cast<void>(signals.recv());
    doorman.cancel();
    all.close("the server goes down");
    std::error_code ec;
    clients.wait(ec, 2s); // then the group's end cancels those that are left
    return 0;
} catch (const std::exception &e) {
    std::fprintf(stderr, "chat: %s\n", e.what());
    return 1;
}
