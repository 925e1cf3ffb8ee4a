//! The collected heap.

use super::{
    call, call_at, call_to_undo,
    chan::gmp_chan,
    goroutine::gmp_fn,
    watch::{Watch, at, ungated},
};
use crate::{
    arch,
    block::chan::GmpChan,
    boot,
    gc::{cleanups, cycle, malloc, others, roots, shortway},
    heap::{Kind, MHEAP, kept},
    os::Errno,
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

/// The function that gmp_gc_each_stack calls with the words from `lo` to before
/// `hi`.
#[expect(non_camel_case_types, reason = "the C name")]
pub type gmp_gc_stack_fn = Option<
    unsafe extern "C" fn(lo: *mut c_void, hi: *mut c_void, arg: *mut c_void),
>;

/// An allocation, once the runtime is up.
#[inline(always)]
fn made(size: usize, kind: Kind) -> *mut c_void {
    shortway::mallocgc(size, kind, made_slow).cast()
}

#[cold]
#[inline(never)]
fn made_slow(size: usize, kind: Kind) -> *mut u8 {
    match boot::gate() {
        // What others did to an object before it was freed comes before.
        Ok(()) => ungated(
            || Watch::Acquires(at(&raw const MHEAP)),
            || malloc::malloc_slow(size, kind),
        ),
        Err(_) => ptr::null_mut(),
    }
}

/// Allocates `size` bytes, all zero and aligned to 16, which are freed once
/// nothing points into them. Pointers to them, or into them, may lie in
/// objects of this heap, on the stacks of goroutines and of attached threads
/// (gmp_gc_attach), in the data of the program and its libraries, and in what
/// this library keeps: elements of channels, arguments, values of keys. A
/// pointer that lies only in memory of malloc, in a thread-local variable or in
/// a file keeps nothing: gmp_gc_alloc_root() is for those.
///
/// Returns NULL where memory or the limit is out, if the runtime cannot start,
/// and in the child of a fork that came after the first use of this heap, which
/// is said once on stderr. May block for a collection, which takes some
/// milliseconds for each 100 MB that are in use.
///
/// ```c
/// void **pair = gmp_gc_alloc(2 * sizeof *pair);
/// if (pair != NULL)
///     pair[0] = first;
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_alloc(size: usize) -> *mut c_void {
    made(size, Kind::Scan)
}

/// gmp_gc_alloc for memory that will hold no pointer to an object of this heap:
/// text, numbers, pixels. A collection does not look into it. It is *not*
/// zeroed. May block for a collection.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_alloc_noscan(size: usize) -> *mut c_void {
    made(size, Kind::Noscan)
}

/// gmp_gc_alloc for `n` times `size` bytes. Returns NULL also if that is more
/// than a size_t has. May block for a collection.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_calloc(n: usize, size: usize) -> *mut c_void {
    match n.checked_mul(size) {
        Some(size) => made(size, Kind::Scan),
        None => ptr::null_mut(),
    }
}

/// gmp_gc_alloc for memory that stays, and is looked into, until
/// gmp_gc_free(): for what only memory of malloc or foreign code points to. May
/// block for a collection.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_alloc_root(size: usize) -> *mut c_void {
    made(size, Kind::Root)
}

/// Memory of malloc that collections look into until gmp_kept_free(): for
/// records that may hold pointers to objects of this heap, in a program that
/// may use it. It is no object itself, needs no heap, is to be had in the child
/// of a fork, and is *not* zeroed.
///
/// Returns NULL if there is no memory. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_kept_malloc(size: usize) -> *mut c_void {
    ungated(|| Watch::Nothing, || kept::malloc(size).cast())
}

/// Frees memory of gmp_kept_malloc(); NULL does nothing. Never blocks.
///
/// # Safety
/// `p`: null, or from gmp_kept_malloc(), and used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_kept_free(p: *mut c_void) {
    if !p.is_null() {
        // SAFETY: as the caller promises.
        ungated(|| Watch::Nothing, || unsafe { kept::free(p.cast()) });
    }
}

/// Gives the object at `p` a size of `size` bytes, perhaps at another place, of
/// the same kind; what it gains is zero if it may hold pointers. With a NULL
/// `p` it is gmp_gc_alloc.
///
/// Returns NULL if no object begins at `p`, and for the same reasons as
/// gmp_gc_alloc. Then nothing has changed. May block for a collection.
///
/// # Safety
/// `p`: null, or an object that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_realloc(
    p: *mut c_void,
    size: usize,
) -> *mut c_void {
    if boot::gate().is_err() {
        return ptr::null_mut();
    }
    ungated(
        || Watch::Orders(at(&raw const MHEAP)),
        // SAFETY: as the caller promises.
        move || unsafe { malloc::realloc(p.cast(), size) }.cast(),
    )
}

/// Frees the object at `p` at once, for who knows that nobody uses it.
///
/// Returns 0, also for NULL; -EINVAL if no object begins at `p`, or if it is
/// free already; the first pointer into a goroutine's stack is also told on
/// stderr. -ENOTSUP in a child that gmp_gc_alloc() refuses; -ENOMEM for the
/// first call of the library on a thread. Never blocks.
///
/// # Safety
/// Nobody uses the object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_free(p: *mut c_void) -> c_int {
    shortway::free(p.addr(), free_slow)
}

#[cold]
#[inline(never)]
fn free_slow(p: usize) -> c_int {
    call_at(
        || Watch::Releases(at(&raw const MHEAP)),
        move || if p == 0 { Ok(()) } else { malloc::free(p as *mut u8) },
    )
}

/// The object that `p` points into: its first byte. NULL if `p` does not point
/// into an object of this heap. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_base(p: *const c_void) -> *mut c_void {
    object(p).map_or(ptr::null_mut(), |it| it.0 as *mut c_void)
}

/// The bytes of the object that `p` points into, which are as many as were
/// asked for, or some more. 0 if `p` does not point into an object of this
/// heap. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_size(p: *const c_void) -> usize {
    object(p).map_or(0, |it| it.1)
}

fn object(p: *const c_void) -> Option<(usize, usize)> {
    boot::gate().ok()?;
    malloc::object(p.cast())
}

/// Calls `f(arg)` once the object that `p` points into is gone: it was
/// collected, or freed by gmp_gc_free() or gmp_gc_realloc(). The calls are made
/// on one goroutine, one after the other in no order, so `f` should be short.
/// An object may have several. What `arg` points to is kept until the call.
/// Go's AddCleanup: the object cannot come back, and objects in a cycle go as
/// all others do. At the end of the process or of the runtime no call is made.
///
/// `arg` must not lead to the object, which would never go then.
///
/// Returns 0; -EINVAL for a NULL `f`, if `p` does not point into an object of
/// this heap, and if `arg` points into the same object; -ENOTSUP in a child
/// that gmp_gc_alloc() refuses; -ENOMEM. Never blocks.
///
/// ```c
/// void **image = gmp_gc_alloc(64); // its first word: a line of malloc's
/// if (image != NULL)
///     gmp_gc_cleanup(image, drop_line, image[0]);
/// ```
///
/// # Safety
/// `f(arg)` may be called, on a goroutine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_cleanup(
    p: *mut c_void,
    f: gmp_fn,
    arg: *mut c_void,
) -> c_int {
    call(move || cleanups::add(p.cast(), f.ok_or(Errno::EINVAL)?, arg))
}

/// A pointer to an object that does not keep it. It is an object of this heap
/// itself, so it goes when nothing points to it, and may lie wherever a pointer
/// to an object may.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_weak;

/// A weak pointer to the object that `p` points into, the same one each time.
///
/// Returns NULL if `p` does not point into an object of this heap, and for the
/// same reasons as gmp_gc_alloc. May block for a collection.
///
/// ```c
/// gmp_weak *weak = gmp_gc_weak(first); // does not keep it
/// second = gmp_gc_weak_get(weak);      // NULL: it is gone
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_weak(p: *mut c_void) -> *mut gmp_weak {
    if boot::gate().is_err() {
        return ptr::null_mut();
    }
    cleanups::weak(p.cast()).map_or(ptr::null_mut(), <*mut c_void>::cast)
}

/// The first byte of the object that `w` was made for; NULL if it is gone, and
/// for NULL. An object is gone once nothing but weak pointers has led to it in
/// a collection. Never blocks.
///
/// # Safety
/// `w`: null, or from gmp_gc_weak().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_weak_get(w: *mut gmp_weak) -> *mut c_void {
    if boot::gate().is_err() {
        return ptr::null_mut();
    }
    // SAFETY: as the caller promises.
    unsafe { cleanups::weak_get(w.cast()) }.cast()
}

/// gmp_chan_make for a channel that is collected as an object of this heap is:
/// gmp_chan_ref() and gmp_chan_unref() do nothing for it. So it may be sent
/// through channels, and messages may lead back to it. Elements that nobody has
/// received go with it.
///
/// Returns NULL where gmp_gc_alloc() does. May block for a collection.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_chan_make(
    elem_size: usize,
    capacity: usize,
) -> *mut gmp_chan {
    let alloc = |bytes| gmp_gc_alloc(bytes).cast::<u8>();
    ungated(
        move || Watch::Nothing,
        move || GmpChan::make_collected(elem_size, capacity, alloc),
    )
    .map_or(ptr::null_mut(), <*mut GmpChan>::cast)
}

/// Has collections look for pointers from `lo` up to `hi`, and not at `hi`
/// itself. What is not mapped any more is skipped.
///
/// Returns 0; -EINVAL for NULL, and for an end below the beginning; -ENOMEM.
/// Never blocks.
///
/// # Safety
/// Nothing: the words are only read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_add_roots(
    lo: *const c_void,
    hi: *const c_void,
) -> c_int {
    call(move || roots::add(lo.addr(), hi.addr()))
}

/// Takes back all gmp_gc_add_roots() that lie within `lo` and `hi`.
///
/// Returns 0. Never blocks.
///
/// # Safety
/// Nothing: the words are not read any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_remove_roots(
    lo: *const c_void,
    hi: *const c_void,
) -> c_int {
    call_to_undo(move || {
        roots::remove(lo.addr(), hi.addr());
        Ok(())
    })
}

/// For gmp_gc_set_roots: the data of the program and all its libraries are
/// roots, which is so from the beginning.
pub const GMP_GC_ROOTS_ALL: u32 = 0;
/// For gmp_gc_set_roots: what gmp_gc_add_roots() names, and no other data.
pub const GMP_GC_ROOTS_NONE: u32 = 1;

/// Says which data are roots: GMP_GC_ROOTS_ALL or GMP_GC_ROOTS_NONE. Stacks and
/// what the library keeps are roots in any case.
///
/// Returns 0; -EINVAL for another number. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_set_roots(which: u32) -> c_int {
    call(move || {
        if which > GMP_GC_ROOTS_NONE {
            return Err(Errno::EINVAL);
        }
        roots::set_data(which == GMP_GC_ROOTS_ALL);
        Ok(())
    })
}

/// Has collections look at this thread's stack. A host thread is attached by
/// its first call of this heap, and by its first call that waits. So only a
/// thread that gets pointers in another way calls it. More than once does
/// nothing.
///
/// Returns 0; -ENOMEM; -ENOTSUP in a child that gmp_gc_alloc() refuses. Never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_attach() -> c_int {
    call(malloc::attach)
}

/// Collects: when it returns, everything is freed that was garbage when it was
/// called, but for what a word that looks like a pointer keeps.
///
/// Returns 0; -EBUSY if a thread could not be stopped within 100 ms, such as
/// one that blocks SIGURG, or one that with GMP_GC_SIGNAL=0 comes to no safe
/// point, or if other threads load and unload libraries all the time; -EDEADLK
/// inside an unlockf; -ENOMEM; -ENOTSUP in a child that gmp_gc_alloc() refuses.
/// Blocks this thread, and stops all others that use the library. Waits first
/// if a collection has just ended, for as long as that took, up to 1 ms.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc() -> c_int {
    unsafe extern "C" fn collect(_: usize, _: usize, sp: usize) -> usize {
        call(move || malloc::collect(sp)) as usize
    }
    // SAFETY: it needs no arguments.
    unsafe { arch::callsaved(collect, 0, 0) as c_int }
}

/// For another collector in the process, such as bdwgc: stops all goroutines,
/// until this thread calls gmp_gc_start(). Threads of the program's go on; the
/// other collector stops those. Between the two this thread calls nothing of
/// this library but gmp_gc_each_stack(), and does not fork. Channels, timers
/// and groups that are older than the first call are not looked into, and no
/// goroutine runs on a thread that joins it from then on.
///
/// Returns 0; -EPERM on a goroutine; -EALREADY if this thread has stopped them;
/// -EBUSY if one did not stop within 100 ms; -EDEADLK inside an unlockf;
/// -ENOMEM; -ENOTSUP in the child of a fork. Blocks while another thread
/// collects.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_stop() -> c_int {
    call(others::stop)
}

/// Calls `func`, with `arg`, for each range of words in which goroutines may
/// have pointers: their stacks and registers, their arguments, values of keys
/// and deferred calls, and what channels, timers and groups hold. Only between
/// gmp_gc_stop() and gmp_gc_start(), on the thread that has called the first.
/// Takes no lock, so other threads may stand anywhere.
///
/// Returns 0; -EPERM elsewhere; -EINVAL for a null `func`; -ENOMEM if it has
/// called nothing. Never blocks.
///
/// # Safety
/// `func`: promise 4, with `arg`; it calls nothing of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_each_stack(
    func: gmp_gc_stack_fn,
    arg: *mut c_void,
) -> c_int {
    let Some(func) = func else { return Errno::EINVAL.neg() };
    // SAFETY: the caller's function.
    let found = |lo: usize, hi: usize| unsafe {
        func(lo as *mut c_void, hi as *mut c_void, arg);
    };
    others::each(found).map_or_else(Errno::neg, |()| 0)
}

/// Lets the goroutines go on that gmp_gc_stop() has stopped.
///
/// Returns 0; -EPERM if this thread has not. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_start() -> c_int {
    others::start().map_or_else(Errno::neg, |()| 0)
}

/// Sets how much the heap may grow after a collection until the next one, in
/// percent of what that has left: 100 from the beginning, or what GMP_GOGC
/// says; -1, or less: no collection but by gmp_gc() and at the limit, also none
/// where a heap that is used was not collected for two minutes.
///
/// Returns the former percentage; -ESHUTDOWN and the like, which are less than
/// -1, if the runtime is not up. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_set_percent(percent: c_int) -> c_int {
    match boot::gate() {
        Ok(()) => malloc::set_percent(percent),
        Err(e) => e.neg(),
    }
}

/// Sets a limit to the bytes of all objects: collections come more often below
/// it, and an allocation that would pass it returns NULL. A negative number
/// changes nothing; INT64_MAX is no limit, from the beginning or as
/// GMP_MEMLIMIT says.
///
/// Returns the former limit, or a negative errno if the runtime is not up.
/// Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_gc_set_limit(bytes: i64) -> i64 {
    if let Err(e) = boot::gate() {
        return i64::from(e.neg());
    }
    let was = match usize::try_from(bytes) {
        Ok(bytes) if bytes < i64::MAX as usize => MHEAP.pacing.set_limit(bytes),
        Ok(_) => MHEAP.pacing.set_limit(usize::MAX),
        Err(_) => MHEAP.pacing.limit(),
    };
    i64::try_from(was).unwrap_or(i64::MAX)
}

/// The heap in numbers. A counter only grows. A version of the library may add
/// fields at the end.
#[repr(C)]
pub struct gmp_gc_stats {
    /// The bytes that the library has filled in. Fields beyond are 0.
    pub struct_size: usize,
    /// Bytes of objects, dead ones that are not freed yet among them, and of
    /// room that a processor has taken to allocate from.
    pub live_bytes: u64,
    /// Bytes of objects when the next collection begins; UINT64_MAX: no size
    /// begins one.
    pub next_bytes: u64,
    /// Bytes of objects that the last collection has found alive.
    pub marked_bytes: u64,
    /// Bytes of pages with objects.
    pub in_use_bytes: u64,
    /// Bytes of pages without, as address space.
    pub idle_bytes: u64,
    /// Of idle_bytes: those whose memory the kernel has.
    pub released_bytes: u64,
    /// Counter: collections.
    pub collections: u64,
    /// Counter: attempts that failed, since a thread did not stop, or for want
    /// of memory.
    pub failed: u64,
    /// Counter: nanoseconds for which the world stood still.
    pub pause_ns: u64,
    /// The longest such time.
    pub longest_pause_ns: u64,
    /// Bytes of stacks of goroutines that the heap knows as such: all
    /// stack_mapped_bytes of gmp_get_stats(), once the heap is in use.
    pub stack_bytes: u64,
}

/// Writes the numbers of this moment to `*out`, which has `size` bytes:
/// sizeof(gmp_gc_stats), as gmp_get_stats does.
///
/// Returns 0; -EINVAL for a `size` without room for struct_size. Never blocks.
///
/// # Safety
/// `out`: promise 2, with `size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_gc_get_stats(
    out: *mut gmp_gc_stats,
    size: usize,
) -> c_int {
    call(move || {
        if out.is_null() || size < size_of::<usize>() {
            return Err(Errno::EINVAL);
        }
        let known = size.min(size_of::<gmp_gc_stats>());
        let stats = gmp_gc_stats { struct_size: known, ..now() };
        let to = out.cast::<u8>();
        // SAFETY: promise 2: `size` bytes, which are `known` or more.
        unsafe { ptr::write_bytes(to, 0, size) };
        let from = (&raw const stats).cast::<u8>();
        // SAFETY: promise 2; both have `known` bytes, and they are apart.
        unsafe { ptr::copy_nonoverlapping(from, to, known) };
        Ok(())
    })
}

fn now() -> gmp_gc_stats {
    let (heap, counts) = (MHEAP.stats(), cycle::counts());
    gmp_gc_stats {
        struct_size: 0,
        live_bytes: heap.live as u64,
        next_bytes: heap.trigger as u64,
        marked_bytes: MHEAP.pacing.marked() as u64,
        in_use_bytes: heap.in_use as u64,
        idle_bytes: heap.free as u64,
        released_bytes: heap.clean as u64,
        collections: counts.cycles,
        failed: counts.failed,
        pause_ns: counts.pauses,
        longest_pause_ns: counts.longest,
        stack_bytes: heap.stacks as u64,
    }
}
