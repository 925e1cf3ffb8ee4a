//! The loop that measures what is short.

use crate::report::Stopwatch;

/// Reports how many ns a round takes: `pass(n)` does n of them. It is called
/// with a tenth of `n` to warm up, and then with `n` until enough time is over.
pub async fn measure<F>(metric: &str, n: u64, mut pass: impl FnMut(u64) -> F)
where
    F: Future<Output = ()>,
{
    pass(n / 10).await;
    let mut watch = Stopwatch::start();
    loop {
        pass(n).await;
        if watch.lap(n) {
            break watch.report_ns(metric);
        }
    }
}
