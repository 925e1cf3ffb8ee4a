// Descriptors: buffers of all kinds, deadlines, sockets, files.
#include "test.hpp"

#include <array>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>
#if defined(__cpp_lib_span)
#include <span>
#endif

using namespace std::chrono_literals;

namespace {

struct pair {
    gmp::descriptor a, b;
    pair()
    {
        int fds[2];
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        a = gmp::descriptor(fds[0]);
        b = gmp::descriptor(fds[1]);
    }
};

void buffers()
{
    pair p;
    const std::string text = "string ";
    const std::vector<char> chars = {'v', 'e', 'c', ' '};
    char array[] = {'a', 'r', 'r', ' '};
    const std::array<std::uint16_t, 2> numbers = {0x4241, 0x4443};

    gmp::write_all(p.a.get(), text);
    gmp::write_all(p.a.get(), std::string_view("view "));
    gmp::write_all(p.a.get(), chars);
    gmp::write_all(p.a.get(), array);
    gmp::write_all(p.a.get(), "literal ");
    gmp::write_all(p.a.get(), numbers);
    gmp::write_all(p.a.get(), {text.data(), 3});
    const std::string want = "string view vec arr literal ABCDstr";
    std::string got(want.size(), '\0');
    CHECK_EQ(gmp::read_full(p.b.get(), got), want.size());
    CHECK_EQ(got, want);

    std::vector<std::uint32_t> words(2);
    gmp::write_all(p.a.get(), "01234567");
    CHECK_EQ(gmp::read_full(p.b.get(), words), 8u);
    CHECK_EQ(words[1], 0x37363534u);
    char some[100];
    CHECK_EQ(gmp::write(p.a.get(), "0123"), 4u);
    CHECK_EQ(gmp::read(p.b.get(), some), 4u);
#if defined(__cpp_lib_span)
    std::span<const char> out(want);
    gmp::write_all(p.a.get(), out.first(6));
    std::span<std::byte> in = std::as_writable_bytes(std::span<char>(some));
    CHECK_EQ(gmp::read(p.b.get(), in), 6u);
    CHECK_EQ(std::string(some, 6), "string");
    gmp::write_all(p.a.get(), std::as_bytes(out));
    CHECK_EQ(gmp::read_full(p.b.get(), in.first(want.size())), want.size());
#endif
    p.a.close();
    CHECK_EQ(gmp::read(p.b.get(), some), 0u);
    CHECK_EQ(gmp::read_full(p.b.get(), some), 0u);
}

void failures()
{
    pair p;
    char some[10];
    std::error_code ec;
    CHECK_THROWS(std::system_error, gmp::read(p.a.get(), some, 1ms),
                 CHECK(e.code() == std::errc::timed_out));
    CHECK_EQ(gmp::read(p.a.get(), some, ec, 1ms), 0u);
    CHECK(ec == std::errc::timed_out);
    gmp::write_all(p.b.get(), "123");
    CHECK_EQ(gmp::read_full(p.a.get(), some, ec, 1ms), 3u); // what it has read
    CHECK(ec == std::errc::timed_out);
    CHECK_THROWS(std::system_error, gmp::read(-1, some),
                 CHECK(e.code() == std::errc::bad_file_descriptor));
    CHECK(gmp::wait_fd(p.a.get(), GMP_WRITABLE) == GMP_WRITABLE);
    CHECK_EQ(gmp::wait_fd(p.a.get(), GMP_READABLE, ec, 1ms), 0);
    CHECK(ec == std::errc::timed_out);

    gmp::task<void> reads([&] { gmp::read(p.a.get(), some); });
    reads.cancel();
    reads.join(ec);
    CHECK(ec == std::errc::operation_canceled);
    p.b.close();
    CHECK_THROWS(std::system_error, gmp::write_all(p.a.get(), "x"),
                 CHECK(e.code() == std::errc::broken_pipe));
}

void descriptors()
{
    gmp::descriptor none;
    CHECK(!none && none.get() == -1 && !none.close());
    pair p;
    const int number = p.a.get();
    gmp::descriptor moved(std::move(p.a));
    CHECK(!p.a && moved.get() == number);
    p.a = std::move(moved);
    p.b = std::move(p.a);
    CHECK_EQ(p.b.get(), number);
    CHECK_EQ(::fcntl(number, F_GETFD), 0);
    CHECK(!p.b.close());
    CHECK_EQ(::fcntl(number, F_GETFD), -1);
    const int released = pair().a.release();
    CHECK_EQ(::close(released), 0);
    CHECK(gmp::descriptor(1000000).close() == std::errc::bad_file_descriptor);
}

void sockets()
{
    const std::string path = "/tmp/gmprt-cpp-" + std::to_string(::getpid());
    ::unlink(path.c_str());
    gmp::descriptor listener = gmp::listen("unix", path);
    gmp::task<void> server([&] {
        for (int i = 0; i < 3; i++) {
            gmp::descriptor client = gmp::accept(listener.get());
            char byte[1];
            while (gmp::read(client.get(), byte) == 1)
                gmp::write_all(client.get(), byte);
        }
    });
    for (int i = 0; i < 3; i++) {
        gmp::descriptor client = gmp::dial("unix", path, 10s);
        std::string back(5, '\0');
        gmp::write_all(client.get(), "hello");
        CHECK_EQ(gmp::read_full(client.get(), back), 5u);
        CHECK_EQ(back, "hello");
    }
    server.join();
    std::error_code ec;
    CHECK(!gmp::accept(listener.get(), ec, 1ms));
    CHECK(ec == std::errc::timed_out);
    ::unlink(path.c_str());
    CHECK(!gmp::dial("unix", path, ec));
    CHECK(ec);
    CHECK_THROWS(std::system_error, gmp::listen("tcp", "no port"), );
}

void files()
{
    const std::string path =
        "/tmp/gmprt-cpp-file-" + std::to_string(::getpid());
    gmp::descriptor file = gmp::open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK_EQ(gmp::pwrite(file.get(), "0123456789", 5), 10u);
    gmp::fsync(file.get());
    std::string got(4, '\0');
    CHECK_EQ(gmp::pread(file.get(), got, 7), 4u);
    CHECK_EQ(got, "2345");
    std::error_code ec;
    CHECK_EQ(gmp::pread(file.get(), got, 100, ec), 0u);
    CHECK(!ec);
    CHECK(!gmp::open("/nowhere/to/be/found", O_RDONLY, 0, ec));
    CHECK(ec == std::errc::no_such_file_or_directory);
    ::unlink(path.c_str());
}

} // namespace

void test_main()
{
    buffers();
    failures();
    descriptors();
    sockets();
    files();
}
