//! Signals: masks, signal stacks, handlers.

use super::auxv::minsigstksz;
use super::errno::{Errno, KeepErrno, Result};
use super::mem::{self, page_size};
use super::proc;
use crate::base::sanitize;
use crate::base::sync::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use core::ptr;

/// Bytes of a signal stack besides the kernel's frame, for the handlers of the
/// host that ours calls.
const HANDLER_SPACE: usize = 32 << 10;

/// Signals that an instruction raises on its own thread. A blocked one ends the
/// process without any handler.
const SYNCHRONOUS: [c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Two signals that the C library reserves and never blocks: for cancellation,
/// and for setuid of all threads.
const LIBC: [c_int; 2] = [32, 33];

/// Bytes of the kernel's set of signals.
const SET: usize = size_of::<u64>();

/// The signals that a thread blocks, in the kernel's form: one bit for each,
/// from signal 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SigMask(pub(crate) u64);

impl SigMask {
    /// No signal.
    pub(crate) const NONE: Self = Self(0);

    /// The calling thread's mask.
    pub(crate) fn current() -> Self {
        change(libc::SIG_BLOCK, None)
    }

    /// Blocks every signal on the calling thread except those that its own
    /// instructions raise; returns the former mask.
    pub(crate) fn block_all() -> Self {
        Self::all().swap()
    }

    /// All signals except those that instructions raise.
    pub(crate) fn all() -> Self {
        Self(u64::MAX).without_faults()
    }

    /// This set without the signals that instructions raise.
    pub(crate) fn without_faults(mut self) -> Self {
        SYNCHRONOUS.iter().for_each(|&sig| self.remove(sig));
        self
    }

    /// Makes this the calling thread's mask.
    pub(crate) fn restore(&self) {
        self.swap();
    }

    /// [`Self::restore`], and returns the former mask.
    pub(crate) fn swap(&self) -> Self {
        change(libc::SIG_SETMASK, Some(*self))
    }

    /// Puts `sig` into the set.
    pub(crate) fn add(&mut self, sig: c_int) {
        self.0 |= bit(sig);
    }

    /// Whether `sig` is in the set.
    pub(crate) fn contains(&self, sig: c_int) -> bool {
        self.0 & bit(sig) != 0
    }

    /// Takes `sig` out of the set.
    pub(crate) fn remove(&mut self, sig: c_int) {
        self.0 &= !bit(sig);
    }
}

fn bit(sig: c_int) -> u64 {
    1 << (sig - 1)
}

/// Applies `set`, if given, to the calling thread's mask; returns the former
/// mask.
fn change(how: c_int, set: Option<SigMask>) -> SigMask {
    sigmask(how, set).unwrap_or(SigMask(0))
}

/// pthread_sigmask(3), with the kernel's type of sets.
///
/// `EINVAL` for an unknown `how`.
pub(crate) fn sigmask(how: c_int, set: Option<SigMask>) -> Result<SigMask> {
    let _keep = KeepErrno::new();
    let new = set.map(|mut set| {
        LIBC.iter().for_each(|&sig| set.remove(sig));
        set.0
    });
    let new = new.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut old = 0u64;
    // Not the C library's function, whose symbol may be one that calls this.
    // SAFETY: new is null or a set, old a local variable.
    let r = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, new, &raw mut old, SET)
    };
    Errno::check(r)?;
    Ok(SigMask(old))
}

/// Bytes of a signal stack on this processor, whole pages.
pub(crate) fn sigstack_size() -> usize {
    let frame = minsigstksz().max(libc::MINSIGSTKSZ);
    (frame + HANDLER_SPACE).next_multiple_of(page_size())
}

/// Signal stacks for our threads, all of [`sigstack_size`]. They are cut from
/// large mappings and reused, so that no thread needs a mapping of its own.
pub(crate) struct SigStacks {
    /// Free stacks; the first word of each is the address of the next.
    free: usize,
    /// The unused rest of the newest mapping: begin and end.
    fresh: (usize, usize),
}

impl SigStacks {
    /// How many stacks share a mapping.
    const CHUNK: usize = 32;

    pub(crate) const fn new() -> Self {
        Self { free: 0, fresh: (0, 0) }
    }

    /// The lowest address of a stack of `len` bytes, the same length at each
    /// call. None without memory.
    pub(crate) fn take(&mut self, len: usize) -> Option<usize> {
        if self.free != 0 {
            let at = self.free;
            // SAFETY: give has written the word, and nobody uses the stack.
            self.free = unsafe { *(at as *const usize) };
            return Some(at);
        }
        if self.fresh.0 == self.fresh.1 {
            let all = len * Self::CHUNK;
            let lo = mem::map_kept(all).ok()? as usize;
            self.fresh = (lo, lo + all);
        }
        let at = self.fresh.0;
        self.fresh.0 += len;
        Some(at)
    }

    /// Takes back a stack that is no thread's signal stack any more.
    pub(crate) fn give(&mut self, at: usize) {
        // SAFETY: a stack from take, which nobody uses.
        unsafe { *(at as *mut usize) = self.free };
        self.free = at;
    }
}

/// A thread's signal stack, in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) struct SigStack(libc::stack_t);

impl SigStack {
    /// The lowest address and the first address above; None if disabled.
    pub(crate) fn bounds(&self) -> Option<(usize, usize)> {
        let lo = self.0.ss_sp as usize;
        let disabled = self.0.ss_flags & libc::SS_DISABLE != 0;
        (!disabled).then_some((lo, lo + self.0.ss_size))
    }
}

const NO_STACK: libc::stack_t = libc::stack_t {
    ss_sp: ptr::null_mut(),
    ss_flags: libc::SS_DISABLE,
    ss_size: 0,
};

/// The calling thread's signal stack; a disabled one if a sandbox refuses.
pub(crate) fn sigaltstack_get() -> SigStack {
    let mut old = NO_STACK;
    // SAFETY: null changes nothing, old is a local variable.
    unsafe { libc::sigaltstack(ptr::null(), &raw mut old) };
    SigStack(old)
}

/// Makes `[lo, lo + len)` the calling thread's signal stack.
///
/// `ENOMEM` if it is too small, `EPERM` while a handler runs on the old one.
///
/// # Safety
/// The memory is writable, and has no other use until another stack is set or
/// the thread ends.
pub(crate) unsafe fn sigaltstack_set(lo: usize, len: usize) -> Result<()> {
    let stack =
        libc::stack_t { ss_sp: lo as *mut c_void, ss_flags: 0, ss_size: len };
    // SAFETY: the memory is free for this use, the caller promises.
    unsafe { sigaltstack_restore(&SigStack(stack)) }
}

/// Makes `stack`, from [`sigaltstack_get`], the calling thread's again.
///
/// # Safety
/// As for [`sigaltstack_set`], with the memory of `stack`.
pub(crate) unsafe fn sigaltstack_restore(stack: &SigStack) -> Result<()> {
    let _keep = KeepErrno::new();
    let mut new = stack.0;
    // The kernel reports SS_ONSTACK and does not accept it.
    new.ss_flags &= !libc::SS_ONSTACK;
    // SAFETY: the memory is free for this use, the caller promises.
    let r = unsafe { libc::sigaltstack(&raw const new, ptr::null_mut()) };
    Errno::check(r).map(drop)
}

/// Leaves the calling thread without a signal stack.
///
/// `EPERM` while a handler runs on it.
pub(crate) fn sigaltstack_disable() -> Result<()> {
    // SAFETY: a disabled stack has no memory.
    unsafe { sigaltstack_restore(&SigStack(NO_STACK)) }
}

/// A signal's action: handler, flags and mask.
pub(crate) type SigAction = libc::sigaction;

/// A handler with the signal's details and the interrupted registers.
pub(crate) type SigHandler =
    unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// An action that runs `handler` on the signal stack, with every signal
/// blocked.
pub(crate) fn handler_action(handler: SigHandler) -> SigAction {
    let mut all = MaybeUninit::uninit();
    // SAFETY: fills a local variable.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    SigAction {
        sa_sigaction: handler as usize,
        // SAFETY: sigfillset has written it.
        sa_mask: unsafe { all.assume_init() },
        sa_flags: libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART,
        sa_restorer: None,
    }
}

/// Calls the handler of `action` in the way that its flags ask for.
///
/// # Safety
/// The action has a handler, and the others are the kernel's arguments.
pub(crate) unsafe fn call(
    action: &SigAction,
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let handler = action.sa_sigaction;
    if action.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: of the kind in its flags, the caller promises.
        let f = unsafe { transmute::<usize, SigHandler>(handler) };
        // SAFETY: the kernel's arguments, the caller promises.
        unsafe { f(sig, info, context) }
    } else {
        type Plain = unsafe extern "C" fn(c_int);
        // SAFETY: of the kind in its flags, the caller promises.
        let f = unsafe { transmute::<usize, Plain>(handler) };
        // SAFETY: the kernel's arguments, the caller promises.
        unsafe { f(sig) }
    }
}

/// The host's action in the place that a handler of ours has taken.
pub(crate) struct Saved {
    full: AtomicBool,
    /// Written while `full` is false, which is before the handler is installed.
    action: UnsafeCell<MaybeUninit<SigAction>>,
}

// SAFETY: the action is written while nobody reads it.
unsafe impl Sync for Saved {}

impl Saved {
    pub(crate) const fn new() -> Self {
        Self {
            full: AtomicBool::new(false),
            action: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The action, if one was saved. Async-signal-safe.
    pub(crate) fn get(&self) -> Option<&SigAction> {
        // Acquire: pairs with `set`.
        if !self.full.load(Acquire) {
            return None;
        }
        // SAFETY: full, so nobody writes it.
        let action = unsafe { &*self.action.get() };
        // SAFETY: full, so set has written it.
        Some(unsafe { action.assume_init_ref() })
    }

    /// Saves an action; false if there is one. One thread at a time.
    #[must_use]
    pub(crate) fn set(&self, action: SigAction) -> bool {
        if self.full.load(Relaxed) {
            return false;
        }
        // ThreadSanitizer sees the copy, and not what orders two starts.
        sanitize::ignore();
        // SAFETY: not full, so nobody reads it.
        unsafe { (*self.action.get()).write(action) };
        sanitize::heed();
        // Release: publishes the action.
        self.full.store(true, Release);
        true
    }

    /// Puts the action back as that of `sig`, unless another handler than
    /// `ours` is there now. False: another one is, and may call ours.
    #[must_use]
    pub(crate) fn give_back(&self, sig: c_int, ours: SigHandler) -> bool {
        let Some(old) = self.get() else { return true };
        if !give_back(sig, ours, old) {
            return false;
        }
        self.full.store(false, Release);
        true
    }
}

/// Whether the two are one action. The C library leaves a part of a mask, for
/// signals that there are not, as it was.
pub(crate) fn same(a: &SigAction, b: &SigAction) -> bool {
    // SAFETY: a mask with all signals that there are.
    let blocks = |action: &SigAction, signo| unsafe {
        libc::sigismember(&raw const action.sa_mask, signo)
    };
    a.sa_sigaction == b.sa_sigaction
        && a.sa_flags == b.sa_flags
        && (1..=libc::SIGRTMAX()).all(|s| blocks(a, s) == blocks(b, s))
}

/// Puts `old` back as the action of `sig`, if `ours` is there now. False:
/// another handler is there, which may call ours.
pub(crate) fn give_back(sig: c_int, ours: SigHandler, old: &SigAction) -> bool {
    let Ok(now) = sigaction_get(sig) else { return true };
    if now.sa_sigaction == ours as usize {
        // SAFETY: the host's action, which was there before.
        return unsafe { sigaction_set(sig, old) }.is_ok();
    }
    // Nobody chains from these.
    now.sa_sigaction == libc::SIG_DFL || now.sa_sigaction == libc::SIG_IGN
}

/// The handler that stands for the default action, or 0.
static FOR_DEFAULT: AtomicUsize = AtomicUsize::new(0);

/// `action` has the handler of the library's that does what the default action
/// does, after a report.
pub(crate) fn stands_for_default(action: &SigAction) {
    FOR_DEFAULT.store(action.sa_sigaction, Relaxed);
}

/// Whether this is the default action, or stands for it.
pub(crate) fn is_default(action: &SigAction) -> bool {
    let handler = action.sa_sigaction;
    // Relaxed: set when the library was loaded.
    handler == libc::SIG_DFL || handler == FOR_DEFAULT.load(Relaxed)
}

/// The action of `sig`.
///
/// `EINVAL` for a number that is no signal.
pub(crate) fn sigaction_get(sig: c_int) -> Result<SigAction> {
    // SAFETY: null changes nothing.
    unsafe { sigaction_raw(sig, ptr::null()) }
}

/// An action in the kernel's form.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelAction {
    pub handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// The action that the kernel has for `sig`: under ThreadSanitizer another one
/// than [`sigaction_get`]'s. Async-signal-safe: the C library's function may
/// lock for SIGABRT.
pub(crate) fn kernel_action(sig: c_int) -> Result<KernelAction> {
    // SAFETY: null changes nothing.
    unsafe { kernel_action_raw(sig, ptr::null()) }
}

/// Sets it; returns the old one.
///
/// # Safety
/// As for [`sigaction_set`], and all but the handler is from [`kernel_action`].
pub(crate) unsafe fn kernel_action_set(
    sig: c_int,
    new: &KernelAction,
) -> Result<KernelAction> {
    // SAFETY: the handler may run at any time, the caller promises.
    unsafe { kernel_action_raw(sig, new) }
}

unsafe fn kernel_action_raw(
    sig: c_int,
    new: *const KernelAction,
) -> Result<KernelAction> {
    let _keep = KeepErrno::new();
    let mut old = MaybeUninit::uninit();
    let call = libc::SYS_rt_sigaction;
    // SAFETY: new is null or its handler may run; old is a local variable.
    let r = unsafe { libc::syscall(call, sig, new, old.as_mut_ptr(), SET) };
    Errno::check(r)?;
    // SAFETY: the call succeeded, so it has written old.
    Ok(unsafe { old.assume_init() })
}

/// Whether the handler of `sig` gets the signal's details. Async-signal-safe.
pub(crate) fn has_details(sig: c_int) -> bool {
    kernel_action(sig).is_ok_and(|it| it.flags & libc::SA_SIGINFO as u64 != 0)
}

/// Sets the action of `sig`; returns the old one.
///
/// `EINVAL` for a number that is no signal, or one that cannot be caught.
///
/// # Safety
/// The handler in `new` may run on any thread at any time until the action is
/// replaced.
pub(crate) unsafe fn sigaction_set(
    sig: c_int,
    new: &SigAction,
) -> Result<SigAction> {
    // SAFETY: the handler may run at any time, the caller promises.
    unsafe { sigaction_raw(sig, new) }
}

unsafe fn sigaction_raw(
    sig: c_int,
    new: *const SigAction,
) -> Result<SigAction> {
    let _keep = KeepErrno::new();
    let mut old = MaybeUninit::uninit();
    // SAFETY: new is null or its handler may run; old is a local variable.
    let r = unsafe { libc::sigaction(sig, new, old.as_mut_ptr()) };
    Errno::check(r)?;
    // SAFETY: the call succeeded, so it has written old.
    Ok(unsafe { old.assume_init() })
}

/// What a signal of the library's own carries.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    /// Tells one from the other.
    pub number: u32,
    /// Tells ours from others.
    pub value: u64,
}

/// The kernel's `siginfo_t` of a signal that was queued.
#[repr(C)]
struct Queued {
    signo: c_int,
    errno: c_int,
    code: c_int,
    _pad: c_int,
    pid: c_int,
    uid: u32,
    value: u64,
    _rest: [u64; 12],
}
const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

/// Sends `sig` to the thread `tid` of this process, with a mark. If one is
/// pending there already, this one is lost.
///
/// `ESRCH` if there is no such thread; `EAGAIN`; `EPERM` or another where a
/// sandbox refuses it.
pub(crate) fn send_marked(tid: i32, sig: c_int, mark: Mark) -> Result<()> {
    let _keep = KeepErrno::new();
    let pid = proc::id();
    // SAFETY: takes no argument and cannot fail.
    let uid = unsafe { libc::getuid() };
    let info = Queued {
        signo: sig,
        errno: mark.number as c_int,
        code: libc::SI_QUEUE,
        _pad: 0,
        pid,
        uid,
        value: mark.value,
        _rest: [0; 12],
    };
    let call = libc::SYS_rt_tgsigqueueinfo;
    // SAFETY: the kernel reads info.
    let r = unsafe { libc::syscall(call, pid, tid, sig, &raw const info) };
    Errno::check(r).map(drop)
}

/// The mark of a signal that this process has queued; None of any other.
///
/// # Safety
/// `info` is a handler's argument.
pub(crate) unsafe fn mark_of(info: *const libc::siginfo_t) -> Option<Mark> {
    // SAFETY: of the same size, and valid in the handler.
    let info = unsafe { &*info.cast::<Queued>() };
    let ours = info.code == libc::SI_QUEUE && info.pid == proc::id();
    ours.then_some(Mark { number: info.errno as u32, value: info.value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::{AtomicUsize, Ordering};

    #[test]
    fn masks_are_saved_and_restored() {
        let before = SigMask::block_all();
        assert!(SigMask::current().contains(libc::SIGTERM));
        let mut most = SigMask::current();
        most.remove(libc::SIGTERM);
        most.restore();
        assert!(!SigMask::current().contains(libc::SIGTERM));
        assert!(SigMask::current().contains(libc::SIGHUP));
        before.restore();
        let after = SigMask::current();
        assert_eq!(after.contains(libc::SIGHUP), before.contains(libc::SIGHUP));
    }

    static SEEN_AT: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn note_stack(
        _: c_int,
        _: *mut libc::siginfo_t,
        _: *mut c_void,
    ) {
        let here = 0u8;
        SEEN_AT.store((&raw const here) as usize, Ordering::Relaxed);
    }

    #[test]
    fn a_handler_runs_on_the_signal_stack() {
        let mut space = vec![0u8; sigstack_size()];
        let lo = space.as_mut_ptr() as usize;
        let before = sigaltstack_get();
        // SAFETY: space outlives the setting.
        unsafe { sigaltstack_set(lo, space.len()) }.unwrap();
        let bounds = sigaltstack_get().bounds().unwrap();
        assert_eq!(bounds, (lo, lo + space.len()));

        let action = handler_action(note_stack);
        // SAFETY: note_stack only stores a number.
        let old = unsafe { sigaction_set(libc::SIGUSR2, &action) }.unwrap();
        let now = sigaction_get(libc::SIGUSR2).unwrap();
        assert_eq!(now.sa_sigaction, action.sa_sigaction);
        // SAFETY: the signal is caught.
        unsafe { libc::raise(libc::SIGUSR2) };
        let at = SEEN_AT.load(Ordering::Relaxed);
        assert!(bounds.0 <= at && at < bounds.1);
        // SAFETY: the action that was there before.
        unsafe { sigaction_set(libc::SIGUSR2, &old) }.unwrap();

        sigaltstack_disable().unwrap();
        assert!(sigaltstack_get().bounds().is_none());
        // SAFETY: the stack that was there before.
        unsafe { sigaltstack_restore(&before) }.unwrap();
    }

    #[test]
    fn a_signal_stack_has_room_for_handlers() {
        assert!(sigstack_size() >= minsigstksz() + HANDLER_SPACE);
        assert_eq!(sigstack_size() % page_size(), 0);
    }

    #[test]
    fn a_number_that_is_no_signal_is_an_error() {
        assert_eq!(sigaction_get(1000).map(drop), Err(Errno::EINVAL));
    }
}
