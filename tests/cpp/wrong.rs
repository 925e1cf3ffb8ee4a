//! Wrong programs in C++, and the words that the compiler has for them.

/// Statements that must not compile, and what the first error must say. The
/// words of the compilers differ where these are their own.
pub const WRONG: [(&str, [&str; 2]); 26] = [
    ("gmp::go([](int) {});", ["gmp::go: the function cannot be called"; 2]),
    (
        "int n = 0; gmp::go([](int &x) { x++; }, n);",
        ["std::ref passes a reference"; 2],
    ),
    (
        "gmp::task<void> t([](int) {}, \"text\");",
        ["gmp::task: the function cannot be called"; 2],
    ),
    (
        "gmp::task t([](int) {}, \"text\");",
        ["gmp::task: the function cannot be called"; 2],
    ),
    (
        "gmp::task<int &> *t = nullptr; t->cancel();",
        ["gmp::task<T>: T must be void"; 2],
    ),
    (
        "gmp::task<int> t; t.join(1, 2);",
        ["no matching function for call", "no matching member function"],
    ),
    (
        "gmp::task<int> t([] { return std::string(); });",
        ["gmp::task<T>: the function's result is no T"; 2],
    ),
    ("gmp::task<void> a, b(a);", ["use of deleted function", "deleted"]),
    (
        "gmp::channel<int &> ch(1);",
        ["gmp::channel<T>: T must be a type that can be moved"; 2],
    ),
    (
        "gmp::channel<const int> ch(1);",
        ["gmp::channel<T>: T must be a type that can be moved"; 2],
    ),
    (
        "gmp::channel<std::mutex> ch(1);",
        ["gmp::channel<T>: T must be a type that can be moved"; 2],
    ),
    ("gmp::channel<int> ch(1); ch.send(1);", ["nodiscard"; 2]),
    (
        "gmp::channel<int> ch(1); gmp::receiver<int> r = ch; r.send(1);",
        ["no member named", "no member named"],
    ),
    (
        "gmp::channel<int> ch(1);\
         gmp::select(gmp::recv(ch, [](std::string) {}));",
        ["gmp::recv: the handler takes neither T"; 2],
    ),
    (
        "gmp::channel<int> ch(1);\
         gmp::select(gmp::send(ch, 1, [](std::string) {}));",
        ["gmp::send: the handler takes neither"; 2],
    ),
    (
        "gmp::select(gmp::otherwise(), gmp::otherwise());",
        ["gmp::select: one otherwise(...) at most"; 2],
    ),
    (
        "gmp::group g; g.go([] { return 1; });",
        ["a member returns nothing or a std::error_code"; 2],
    ),
    (
        "gmp::call([](int) {}, \"text\");",
        ["gmp::call: the function cannot be called"; 2],
    ),
    (
        "int n = 0; gmp::call([&n]() -> int & { return n; });",
        ["gmp::call: the function returns a reference"; 2],
    ),
    (
        "gmp::local<int> n([] { return std::string(); });",
        ["gmp::local<T>: the function does not make a T"; 2],
    ),
    (
        "std::vector<std::string> v; gmp::write(1, v);",
        ["gmp: what is written must have elements"; 2],
    ),
    (
        "gmp::gc_new<std::string>(\"text\");",
        ["T has a destructor, and collections run none"; 2],
    ),
    (
        "gmp::gc_new_array<std::vector<int>>(3);",
        ["T has a destructor, and collections run none"; 2],
    ),
    ("gmp::gc_new<int[3]>();", ["take gc_new_array for an array"; 2]),
    (
        "struct alignas(32) wide { int n; }; gmp::gc_new<wide>();",
        ["T is aligned to more than 16 bytes"; 2],
    ),
    (
        "gmp::gc_allocator<const int> a;",
        ["T must be an object that can change"; 2],
    ),
];
