// A pipeline of strings: reads text from stdin and prints its ten most frequent
// words. Each stage is a goroutine, and the strings are moved from one to the
// next; several goroutines at once cut lines into words.
//
//     lines ──> words ─┐
//         └───> words ─┼──> counts ──> the ten
//         └───> words ─┘
#include <gmprt.hpp>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr int cutters = 3;
constexpr std::size_t room = 100; // strings between two stages

using counts = std::map<std::string, long>;

void read_lines(const gmp::sender<std::string> &lines)
{
    for (std::string line; std::getline(std::cin, line);)
        if (!lines.send(std::move(line)))
            break;
    lines.close();
}

void cut_words(const gmp::receiver<std::string> &lines,
               const gmp::sender<std::string> &words)
{
    for (const std::string &line : lines) {
        std::string word;
        for (const char c : line + ' ') {
            const auto byte = static_cast<unsigned char>(c);
            if (std::isalpha(byte))
                word += static_cast<char>(std::tolower(byte));
            else if (!word.empty() &&
                     !words.send(std::exchange(word, std::string())))
                return;
        }
    }
}

counts count(const gmp::receiver<std::string> &words)
{
    counts all;
    for (std::string &word : words)
        all[std::move(word)]++;
    return all;
}

} // namespace

int main()
{
    const gmp::channel<std::string> lines(room, "lines"), words(room, "words");
    gmp::task<counts> counter(gmp::options().name("counter"), count, words);
    gmp::group stages;
    stages.go(read_lines, lines);
    for (int i = 0; i < cutters; i++)
        stages.go(cut_words, lines, words);
    stages.wait();
    words.close();

    const counts all = counter.join();
    std::vector<std::pair<long, std::string>> order;
    for (const auto &[word, n] : all)
        order.emplace_back(-n, word);
    std::sort(order.begin(), order.end());
    for (std::size_t i = 0; i < std::min<std::size_t>(10, order.size()); i++)
        std::printf("%7ld %s\n", -order[i].first, order[i].second.c_str());
}
