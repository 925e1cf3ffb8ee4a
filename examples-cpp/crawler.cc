// A crawler: finds all pages of a site that its links lead to.
//
//     crawler http://127.0.0.1:8080/          # 8 pages at a time
//     crawler http://127.0.0.1:8080/ 100      # 100 at a time
//
// Prints a line for each page in the order of their paths: the status of HTTP,
// the size, the path. A page that cannot be had has the status 0 and the
// reason. Links to other sites are left alone.
#include <gmprt.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

namespace {

struct page {
    int status = 0;
    std::string text; // or why there is none
};

struct site {
    std::string host; // with its port
    std::string first;
};

site parse(std::string_view url)
{
    constexpr std::string_view scheme = "http://";
    if (url.substr(0, scheme.size()) != scheme)
        throw std::invalid_argument("the address must begin with http://");
    url.remove_prefix(scheme.size());
    const std::size_t slash = std::min(url.find('/'), url.size());
    std::string host(url.substr(0, slash));
    if (host.find(':') == std::string::npos)
        host += ":80";
    std::string path(url.substr(slash));
    return {host, path.empty() ? "/" : path};
}

page fetch(const std::string &host, const std::string &path)
{
    const gmp::deadline until = 10s; // for all of it
    const gmp::descriptor server = gmp::dial("tcp", host, until);
    gmp::write_all(server.get(),
                   "GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n",
                   until);
    std::string answer;
    char some[4096];
    while (const std::size_t n = gmp::read(server.get(), some, until))
        answer.append(some, n);
    const std::size_t body = answer.find("\r\n\r\n");
    if (answer.compare(0, 5, "HTTP/") != 0 || body == std::string::npos)
        throw std::runtime_error("this is no answer of HTTP");
    const std::size_t space = answer.find(' ');
    return {std::atoi(answer.c_str() + space), answer.substr(body + 4)};
}

// The path that a link of a page at `from` leads to; nothing for other sites.
std::string resolve(const std::string &from, std::string_view link)
{
    link = link.substr(0, link.find('#'));
    if (link.empty() || link.find(':') != std::string_view::npos ||
        link.substr(0, 2) == "//")
        return {};
    if (link[0] == '/')
        return std::string(link);
    return from.substr(0, from.rfind('/') + 1) += link;
}

class crawl {
public:
    crawl(std::string host, std::uint32_t at_once)
        : host_(std::move(host)), slots_(at_once)
    {
    }

    // Visits what was not seen yet, on a goroutine of its own.
    void visit(const std::string &path)
    {
        {
            gmp::lock_guard<gmp::mutex> guard(lock_);
            if (!seen_.insert(path).second)
                return;
        }
        pages_.go([this, path] {
            page p = get(path);
            if (p.status == 200)
                follow(path, p.text);
            gmp::lock_guard<gmp::mutex> guard(lock_);
            found_.emplace(path, std::move(p));
        });
    }

    const std::map<std::string, page> &wait()
    {
        pages_.wait();
        return found_;
    }

private:
    page get(const std::string &path)
    {
        struct slot {
            gmp::semaphore &s;
            explicit slot(gmp::semaphore &of) : s(of) { s.acquire(); }
            ~slot() { s.release(); }
        } held(slots_);
        try {
            return fetch(host_, path);
        } catch (const std::exception &e) {
            return {0, e.what()};
        }
    }

    void follow(const std::string &from, const std::string &text)
    {
        constexpr std::string_view mark = "href=\"";
        std::size_t at = 0;
        while ((at = text.find(mark, at)) != std::string::npos) {
            at += mark.size();
            const std::size_t end = text.find('"', at);
            if (end == std::string::npos)
                return;
            const std::string path =
                resolve(from, std::string_view(text).substr(at, end - at));
            if (!path.empty())
                visit(path);
        }
    }

    const std::string host_;
    gmp::semaphore slots_;
    gmp::mutex lock_; // of the next two
    std::set<std::string> seen_;
    std::map<std::string, page> found_;
    gmp::group pages_; // ends first, as its members use all above
};

} // namespace

int main(int argc, char **argv)
try {
    if (argc < 2)
        throw std::invalid_argument("usage: crawler http://HOST[:PORT]/ [N]");
    const site s = parse(argv[1]);
    const int at_once = argc > 2 ? std::atoi(argv[2]) : 8;
    crawl all(s.host, static_cast<std::uint32_t>(std::max(at_once, 1)));
    all.visit(s.first);
    for (const auto &[path, p] : all.wait())
        if (p.status != 0)
            std::printf("%3d %7zu %s\n", p.status, p.text.size(), path.c_str());
        else
            std::printf("  0       - %s: %s\n", path.c_str(), p.text.c_str());
    return 0;
} catch (const std::exception &e) {
    std::fprintf(stderr, "crawler: %s\n", e.what());
    return 1;
}
