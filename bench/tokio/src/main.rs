//! One operation of tokio, measured; see the library.

fn main() {
    bench_tokio::main();
}
