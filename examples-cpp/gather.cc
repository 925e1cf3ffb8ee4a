// Counts words, and frees nothing: collect.c in C++.
//
//     read --lines--> split --words--+--> count each word
//                                    +--> count the words of each file
//
// A word goes to both counters, and nobody owns it. It points into its line,
// and the table points there too: that keeps the lines which are needed.
//
//     gather FILE...
#include <gmprt.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

struct file {
    const char *path;
    long words; // its counter alone writes it
};

struct line {
    file *from;
    std::string_view text; // of collected memory
};

struct word {
    file *from;
    std::string_view text; // a part of a line
};

// What these point to stays, since they lie in collected memory themselves.
template <class T> using collected = std::vector<T, gmp::gc_allocator<T>>;
using table = std::unordered_map<
    std::string_view, long, std::hash<std::string_view>,
    std::equal_to<std::string_view>,
    gmp::gc_allocator<std::pair<const std::string_view, long>>>;

char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 32) : c;
}

void read_files(const gmp::channel<file *> &files,
                const gmp::channel<line> &lines)
{
    for (file *from : files) {
        std::ifstream in(from->path);
        if (!in)
            throw std::system_error(ENOENT, std::generic_category(),
                                    from->path);
        for (std::string text; std::getline(in, text);) {
            char *copy = gmp::gc_new_array<char>(text.size());
            std::transform(text.begin(), text.end(), copy, lower);
            static_cast<void>(lines.send(line{from, {copy, text.size()}}));
        }
    }
}

template <class Send>
void split_lines(const gmp::channel<line> &lines, Send send)
{
    constexpr std::string_view blanks = " \t";
    for (const line &l : lines) {
        std::size_t end = 0;
        for (;;) {
            const std::size_t begin = l.text.find_first_not_of(blanks, end);
            if (begin == l.text.npos)
                break;
            end = std::min(l.text.find_first_of(blanks, begin), l.text.size());
            send(gmp::gc_new<word>(
                word{l.from, l.text.substr(begin, end - begin)}));
        }
    }
}

void print(const table &counts, const collected<file *> &all)
{
    collected<std::pair<std::string_view, long>> sorted(counts.begin(),
                                                        counts.end());
    std::sort(sorted.begin(), sorted.end(), [](const auto &x, const auto &y) {
        return std::pair(-x.second, x.first) < std::pair(-y.second, y.first);
    });
    for (const auto &[text, n] : sorted)
        std::printf("%7ld %.*s\n", n, static_cast<int>(text.size()),
                    text.data());
    std::puts("");
    for (const file *f : all)
        std::printf("%7ld %s\n", f->words, f->path);
}

void gather(const std::vector<const char *> &paths)
{
    const gmp::channel<file *> files(64);
    const gmp::channel<line> lines(64);
    const gmp::channel<const word *> to_table(64), to_files(64);
    table counts;

    gmp::task<void> reading([&] {
        gmp::group readers;
        for (int i = 0; i < 4; i++)
            readers.go([&] { read_files(files, lines); });
        readers.wait();
        lines.close();
    });
    gmp::task<void> splitting([&] {
        gmp::group splitters;
        for (int i = 0; i < 4; i++)
            splitters.go([&] {
                split_lines(lines, [&](const word *w) {
                    static_cast<void>(to_table.send(w));
                    static_cast<void>(to_files.send(w));
                });
            });
        splitters.wait();
        to_table.close();
        to_files.close();
    });
    gmp::task<void> counting([&] {
        for (const word *w : to_table)
            counts[w->text]++;
    });
    gmp::task<void> filing([&] {
        for (const word *w : to_files)
            w->from->words++;
    });

    collected<file *> all;
    for (const char *path : paths) {
        all.push_back(gmp::gc_new<file>(file{path, 0}));
        static_cast<void>(files.send(all.back()));
    }
    files.close();
    reading.join();
    splitting.join();
    counting.join();
    filing.join();
    print(counts, all);
}

} // namespace

int main(int argc, char **argv)
{
    const std::vector<const char *> paths(argv + 1, argv + argc);
    try {
        gmp::task<void>([&paths] { gather(paths); }).join();
    } catch (const std::exception &e) {
        std::fprintf(stderr, "gather: %s\n", e.what());
        return 1;
    }
}
