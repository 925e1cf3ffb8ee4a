//! The heaps that are measured, by one trait.

use gmprt::heap::{Kind, MCache, MHeap, Work};
use std::arch::asm;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

/// A heap. Objects that may hold pointers are zeroed.
pub trait Heap {
    /// Whether the program frees.
    const BY_HAND: bool;
    fn alloc(&self, size: usize) -> *mut usize;
    fn alloc_noscan(&self, size: usize) -> *mut usize;
    fn free(&self, p: *mut usize);
    /// A whole collection: what is dead is swept too.
    fn collect(&self) {}
    fn pause_collection(&self, _pause: bool) {}
}

/// glibc's.
pub struct Glibc;

impl Heap for Glibc {
    const BY_HAND: bool = true;

    #[inline(always)]
    fn alloc(&self, size: usize) -> *mut usize {
        // SAFETY: any size.
        unsafe { libc::calloc(1, size) }.cast()
    }

    #[inline(always)]
    fn alloc_noscan(&self, size: usize) -> *mut usize {
        // SAFETY: any size.
        unsafe { libc::malloc(size) }.cast()
    }

    #[inline(always)]
    fn free(&self, p: *mut usize) {
        // SAFETY: null, or from malloc and not freed.
        unsafe { libc::free(p.cast()) }
    }
}

type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;

/// bdwgc, as Debian has it.
pub struct Bdwgc {
    malloc: Malloc,
    malloc_atomic: Malloc,
    free: unsafe extern "C" fn(*mut c_void),
    gcollect: unsafe extern "C" fn(),
    disable: unsafe extern "C" fn(),
    enable: unsafe extern "C" fn(),
}

impl Bdwgc {
    /// None where it is not installed.
    pub fn load() -> Option<Self> {
        // SAFETY: a library without bad effects.
        let lib =
            unsafe { libc::dlopen(c"libgc.so.1".as_ptr(), libc::RTLD_NOW) };
        if lib.is_null() {
            return None;
        }
        // One marker, as we have.
        // SAFETY: one thread.
        unsafe { libc::setenv(c"GC_MARKERS".as_ptr(), c"1".as_ptr(), 1) };
        let name = |name: &CStr| {
            // SAFETY: an open library.
            let at = unsafe { libc::dlsym(lib, name.as_ptr()) };
            assert!(!at.is_null());
            at
        };
        // SAFETY: the functions have these types, as gc.h says.
        let this = unsafe {
            Self {
                malloc: std::mem::transmute::<*mut c_void, Malloc>(name(
                    c"GC_malloc",
                )),
                malloc_atomic: std::mem::transmute::<*mut c_void, Malloc>(
                    name(c"GC_malloc_atomic"),
                ),
                free: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void),
                >(name(c"GC_free")),
                gcollect: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(),
                >(name(c"GC_gcollect")),
                disable: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(),
                >(name(c"GC_disable")),
                enable: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(),
                >(name(c"GC_enable")),
            }
        };
        // SAFETY: as above.
        let init = unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(name(
                c"GC_init",
            ))
        };
        // SAFETY: once, before all else.
        unsafe { init() };
        Some(this)
    }
}

impl Heap for Bdwgc {
    const BY_HAND: bool = false;

    #[inline(always)]
    fn alloc(&self, size: usize) -> *mut usize {
        // SAFETY: any size.
        unsafe { (self.malloc)(size) }.cast()
    }

    #[inline(always)]
    fn alloc_noscan(&self, size: usize) -> *mut usize {
        // SAFETY: any size.
        unsafe { (self.malloc_atomic)(size) }.cast()
    }

    fn free(&self, p: *mut usize) {
        // SAFETY: null, or from it and not freed.
        unsafe { (self.free)(p.cast()) }
    }

    fn collect(&self) {
        // SAFETY: a call without arguments.
        unsafe { (self.gcollect)() }
    }

    fn pause_collection(&self, pause: bool) {
        // SAFETY: calls without arguments.
        unsafe { if pause { (self.disable)() } else { (self.enable)() } }
    }
}

/// Ours, driven by one thread, whose stack is the root.
pub struct Ours {
    cache: MCache,
    work: Work,
    top: usize,
}

impl Ours {
    pub fn new() -> Self {
        let heap = Box::leak(Box::new(MHeap::new()));
        heap.init().expect("memory");
        let (cache, work) = (MCache::new(heap), Work::new());
        Self { cache, work, top: stack_top() }
    }

    #[cold]
    #[inline(never)]
    fn slow(&self, size: usize, kind: Kind) -> *mut usize {
        if self.cache.heap().is_due() {
            self.mark();
        }
        let p = self.cache.alloc(size, kind);
        p.map_or(ptr::null_mut(), |p| p.as_ptr().cast())
    }

    #[inline(never)]
    fn mark(&self) {
        let mut registers = [0usize; 6];
        // SAFETY: stores the registers that a call keeps.
        unsafe {
            asm!(
                "mov [{0}], rbx", "mov [{0} + 8], rbp", "mov [{0} + 16], r12",
                "mov [{0} + 24], r13", "mov [{0} + 32], r14",
                "mov [{0} + 40], r15",
                in(reg) registers.as_mut_ptr(), options(nostack)
            );
        }
        let roots = [(registers.as_ptr().addr(), self.top)];
        let caches = std::iter::once(&self.cache);
        // SAFETY: the stack of the only thread, from here on up.
        let marked =
            unsafe { self.cache.heap().collect(&self.work, caches, &roots) };
        assert!(marked.is_some());
        self.cache.prepare_for_sweep();
    }

    #[inline(always)]
    fn get(&self, size: usize, kind: Kind) -> *mut usize {
        match self.cache.alloc_fast(size, kind) {
            Some(p) => p.as_ptr().cast(),
            None => self.slow(size, kind),
        }
    }
}

impl Heap for Ours {
    const BY_HAND: bool = false;

    // As the host has it: a call of a function.
    #[inline(never)]
    fn alloc(&self, size: usize) -> *mut usize {
        self.get(size, Kind::Scan)
    }

    #[inline(never)]
    fn alloc_noscan(&self, size: usize) -> *mut usize {
        self.get(size, Kind::Noscan)
    }

    fn free(&self, p: *mut usize) {
        let _ = self.cache.free(p.addr());
    }

    fn collect(&self) {
        self.mark();
        self.cache.heap().sweep_all();
    }

    fn pause_collection(&self, pause: bool) {
        let percent = if pause { -1 } else { 100 };
        self.cache.heap().pacing.set_percent(percent);
    }
}

/// Above this thread's stack.
fn stack_top() -> usize {
    // SAFETY: a plain structure.
    let mut attr = unsafe { std::mem::zeroed::<libc::pthread_attr_t>() };
    let (mut base, mut size) = (ptr::null_mut(), 0);
    // SAFETY: this thread, and variables of this frame.
    let failed: c_int = unsafe {
        libc::pthread_getattr_np(libc::pthread_self(), &raw mut attr)
            | libc::pthread_attr_getstack(
                &raw const attr,
                &raw mut base,
                &raw mut size,
            )
    };
    assert_eq!(failed, 0);
    base.addr() + size
}
