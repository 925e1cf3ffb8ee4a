// Memory that is freed by collections: gc_new, gc_new_array, gc_allocator.
#include "test.hpp"

#include <atomic>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

struct node {
    node *next = nullptr;
    int value = 0;

    node() = default;
    node(node *n, int v) : next(n), value(v) {}
};

struct pixel { // may lie in memory that collections skip
    unsigned char r, g, b;
};

enum class colour { red, green };

} // namespace

template <> struct gmp::gc_noscan<pixel> : std::true_type {};

static_assert(gmp::detail::gc_is_noscan<int>);
static_assert(gmp::detail::gc_is_noscan<const volatile double>);
static_assert(gmp::detail::gc_is_noscan<colour>);
static_assert(gmp::detail::gc_is_noscan<int[3][4]>);
static_assert(gmp::detail::gc_is_noscan<pixel>);
static_assert(gmp::detail::gc_is_noscan<const pixel[2]>);
static_assert(!gmp::detail::gc_is_noscan<int *>);
static_assert(!gmp::detail::gc_is_noscan<node>);
static_assert(!gmp::detail::gc_is_noscan<std::string>);
static_assert(!gmp::detail::gc_is_noscan<void (*)()>);
static_assert(sizeof(std::vector<int, gmp::gc_allocator<int>>) ==
              sizeof(std::vector<int>));

namespace {

template <class T> using gc_vector = std::vector<T, gmp::gc_allocator<T>>;
using gc_string =
    std::basic_string<char, std::char_traits<char>, gmp::gc_allocator<char>>;
template <class K, class V>
using gc_map =
    std::map<K, V, std::less<K>, gmp::gc_allocator<std::pair<const K, V>>>;

std::uint64_t collections()
{
    gmp_gc_stats stats;
    CHECK_EQ(gmp_gc_get_stats(&stats, sizeof stats), 0);
    return stats.collections;
}

void collect()
{
    // A thread that has had no CPU for long is no failure of ours.
    for (int i = 0; i < 20; i++)
        if (gmp_gc() == 0)
            return;
    CHECK(false);
}

void objects()
{
    node *list = nullptr;
    for (int i = 0; i < 1000; i++)
        list = gmp::gc_new<node>(list, i);
    CHECK(gmp_gc_size(list) >= sizeof(node));
    collect();
    for (int i = 999; i >= 0; i--, list = list->next)
        CHECK_EQ(list->value, i);
    CHECK(!list);

    CHECK_EQ(*gmp::gc_new<int>(), 0);
    CHECK_EQ(*gmp::gc_new<const int>(3), 3);
    CHECK(*gmp::gc_new<colour>(colour::green) == colour::green);
    CHECK(!gmp::gc_new<node>()->next);
}

void arrays()
{
    // Memory that is used again is zero, too.
    for (int round = 0; round < 60; round++) {
        int *const numbers = gmp::gc_new_array<int>(500);
        node *const nodes = gmp::gc_new_array<node>(20);
        pixel *const pixels = gmp::gc_new_array<pixel>(77);
        for (int i = 0; i < 500; i++)
            CHECK_EQ(numbers[i], 0);
        for (int i = 0; i < 20; i++)
            CHECK(!nodes[i].next && nodes[i].value == 0);
        CHECK(pixels[76].b == 0);
        std::memset(numbers, 0x5a, 500 * sizeof(int));
        std::memset(pixels, 0x5a, 77 * sizeof(pixel));
        nodes[19].next = &nodes[18];
        if (round % 20 == 0)
            collect();
    }
    CHECK(gmp::gc_new_array<int>(0));
}

// A node that is reached through containers alone stays.
void containers()
{
    gc_vector<node *> nodes;
    gc_map<int, node *> by_number;
    std::set<gc_string, std::less<gc_string>, gmp::gc_allocator<gc_string>>
        names;
    std::list<node *, gmp::gc_allocator<node *>> some;
    std::unordered_map<int, node *, std::hash<int>, std::equal_to<int>,
                       gmp::gc_allocator<std::pair<const int, node *>>>
        hashed;
    for (int i = 0; i < 1000; i++) {
        node *const made = gmp::gc_new<node>(nullptr, i);
        nodes.push_back(made);
        by_number[i] = gmp::gc_new<node>(nullptr, i);
        names.insert(gc_string("a name that is no short one ") +
                     std::to_string(i).c_str());
        some.push_back(gmp::gc_new<node>(nullptr, i));
        hashed[i] = gmp::gc_new<node>(nullptr, i);
        if (i % 250 == 0)
            collect();
    }
    collect();
    auto next = some.begin();
    for (int i = 0; i < 1000; i++, ++next) {
        CHECK_EQ(nodes[static_cast<std::size_t>(i)]->value, i);
        CHECK_EQ(by_number.at(i)->value, i);
        CHECK_EQ((*next)->value, i);
        CHECK_EQ(hashed.at(i)->value, i);
    }
    CHECK_EQ(names.size(), std::size_t{1000});
    CHECK_EQ(names.count("a name that is no short one 999"), std::size_t{1});

    // All of them are equal, so a move is one of pointers.
    const node *const *const at = nodes.data();
    const gc_vector<node *> moved = std::move(nodes);
    CHECK(moved.data() == at);
    gc_vector<node *> copy = moved;
    CHECK(copy.data() != at && copy == moved);
    CHECK(gmp::gc_allocator<int>() == gmp::gc_allocator<int>(copy.get_allocator()));
    CHECK(!(gmp::gc_allocator<int>() != gmp::gc_allocator<int>()));
    gc_vector<bool> bits(1000, true);
    bits.resize(5000);
    CHECK(bits[999] && !bits[1000]);
}

// What a container lets go is freed at once, and not by a collection.
void freed_at_once()
{
    const std::uint64_t before = collections();
    for (int i = 0; i < 40; i++) {
        gc_vector<char> bytes;
        bytes.reserve(10 << 20);
    }
    // Each of them is one allocation, which may find the heap past its goal.
    CHECK(collections() - before <= 44);
    gmp_gc_stats stats;
    gmp_gc_get_stats(&stats, sizeof stats);
    CHECK(stats.in_use_bytes < 200u << 20);
}

// Messages that nobody frees.
void messages()
{
    gmp::channel<node *> ch(8);
    gmp::task<long> reader([ch] {
        long sum = 0;
        for (node *const m : ch)
            sum += m->value + m->next->value;
        return sum;
    });
    for (int i = 0; i < 4000; i++)
        CHECK(ch.send(gmp::gc_new<node>(gmp::gc_new<node>(nullptr, i), i)));
    ch.close();
    CHECK_EQ(reader.join(), 4000L * 3999);

    gmp::channel<gc_string> texts(4);
    gmp::task<std::size_t> lengths([texts] {
        std::size_t sum = 0;
        for (const gc_string &text : texts)
            sum += text.size();
        return sum;
    });
    for (int i = 0; i < 2000; i++)
        CHECK(texts.send(gc_string(100, 'x')));
    texts.close();
    CHECK_EQ(lengths.join(), std::size_t{200000});
}

// An object to which only `f` will have a pointer; its address is hidden.
node *hidden_node(std::vector<std::uintptr_t> &all)
{
    node *const made = gmp::gc_new<node>(nullptr, static_cast<int>(all.size()));
    all.push_back(~reinterpret_cast<std::uintptr_t>(made));
    return made;
}

struct parcel { // more than a goroutine's stack takes as an argument
    node *first;
    char rest[2000];
};

gmp::local<parcel> own_parcel;

// What tasks, groups, locals and channels copy is looked into: before the
// goroutine begins, while it waits, and when it has a result.
__attribute__((noinline)) std::vector<std::function<bool()>>
copies(std::vector<std::uintptr_t> &all, gmp::channel<int> gate)
{
    using task = gmp::task<node *>;
    std::vector<std::function<bool()>> ends;
    const auto make = [&all] { return hidden_node(all); };
    const auto wait = [gate] { return gate.recv().has_value(); };
    const auto add = [&ends](auto made, auto holds) {
        ends.push_back([made, holds] { return holds(*made); });
    };
    for (int i = 0; i < 20; i++) {
        add(std::make_shared<task>([wait, p = make()] {
                wait();
                return p;
            }),
            [](task &t) { return t.join()->value % 5 == 0; });
        add(std::make_shared<task>([p = make()] { return p; }),
            [](task &t) { return t.join()->value % 5 == 1; });
        auto sum = std::make_shared<std::atomic<int>>(0);
        auto group = std::make_shared<gmp::group>();
        group->go([wait, sum, p = make()] {
            wait();
            *sum += p->value % 5;
        });
        add(group, [sum](gmp::group &g) {
            g.wait();
            return *sum == 2;
        });
        gmp::channel<parcel> parcels(1);
        CHECK(parcels.send(parcel{make(), {}}));
        ends.push_back(
            [parcels] { return parcels.recv()->first->value % 5 == 3; });
        gmp::channel<int> set(0);
        add(std::make_shared<gmp::task<bool>>([wait, set, &all] {
                *own_parcel = parcel{hidden_node(all), {}};
                set.close();
                wait();
                return own_parcel->first->value % 5 == 4;
            }),
            [](gmp::task<bool> &t) { return t.join(); });
        CHECK(!set.recv());
    }
    return ends;
}

void clear_stack()
{
    volatile char room[16384];
    for (volatile char &c : room)
        c = 0;
}

void kit_copies()
{
    std::vector<std::uintptr_t> all;
    gmp::channel<int> gate(0);
    auto ends = copies(all, gate);
    clear_stack();
    collect();
    collect();
    CHECK_EQ(all.size(), std::size_t{100});
    for (const std::uintptr_t hidden : all)
        CHECK(gmp_gc_base(reinterpret_cast<void *>(~hidden)));
    gate.close();
    for (const auto &end : ends)
        CHECK(end());
}

void out_of_memory()
{
    CHECK_THROWS(std::bad_alloc, gmp::gc_new_array<node>(SIZE_MAX / 8), );
    CHECK_THROWS(std::bad_alloc, gmp::gc_new_array<node>(SIZE_MAX), );
    CHECK_THROWS(std::bad_alloc, gmp::gc_allocator<int>().allocate(SIZE_MAX), );
    const std::int64_t was = gmp_gc_set_limit(8 << 20);
    CHECK_THROWS(std::bad_alloc, gmp::gc_new_array<char>(64 << 20), );
    gmp_gc_set_limit(was);
    CHECK(gmp::gc_new_array<char>(64 << 20));
}

} // namespace

void test_main()
{
    objects();
    arrays();
    containers();
    freed_at_once();
    messages();
    kit_copies();
    out_of_memory();
}
