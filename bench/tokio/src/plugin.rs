//! What `bench/raw/dlopen.c` calls: tasks in a program that knows nothing of
//! them.

use std::ffi::c_int;
use std::sync::OnceLock;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// What a task sends: 42. tokio takes the number of workers from
/// `TOKIO_WORKER_THREADS`.
#[unsafe(no_mangle)]
pub extern "C" fn first_result() -> c_int {
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("runtime"));
    let (sender, mut receiver) = mpsc::channel(1);
    runtime.spawn(async move { sender.send(42).await });
    runtime.block_on(receiver.recv()).unwrap_or(-1)
}
