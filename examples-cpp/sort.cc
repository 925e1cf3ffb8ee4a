// Sorts lines, as sort(1) does, by all processors: each half of the lines is
// sorted by a task of its own, and then the halves are merged.
//
//     sort < FILE
#include <gmprt.hpp>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

namespace {

using line = std::vector<std::string>::iterator;

constexpr std::ptrdiff_t alone = 2000; // lines that are not worth a task

void merge_sort(line begin, line end)
{
    if (end - begin <= alone) {
        std::stable_sort(begin, end);
        return;
    }
    const line middle = begin + (end - begin) / 2;
    gmp::task<void> first([=] { merge_sort(begin, middle); });
    merge_sort(middle, end);
    first.join();
    std::inplace_merge(begin, middle, end);
}

} // namespace

int main()
{
    std::ios::sync_with_stdio(false);
    std::vector<std::string> lines;
    for (std::string text; std::getline(std::cin, text);)
        lines.push_back(std::move(text));
    // On a goroutine, a task that waits costs no thread.
    gmp::task<void>([&lines] { merge_sort(lines.begin(), lines.end()); })
        .join();
    for (const std::string &text : lines)
        std::cout << text << '\n';
}
