//! G in a model: the part that `block` uses, around the real park word.
//!
//! Dead Gs are reused in the next generation, so a handle may go stale between
//! any two steps.

#[path = "../gmp/closing.rs"]
pub mod closing;
#[expect(dead_code, reason = "models need a few of them")]
#[path = "../gmp/gflag.rs"]
pub(crate) mod gflag;
#[path = "../gmp/parkword.rs"]
pub mod parkword;
#[path = "../gmp/wait.rs"]
pub(crate) mod wait;
#[path = "../gmp/waitfor.rs"]
pub(crate) mod waitfor;
#[path = "../gmp/waitword.rs"]
pub mod waitword;

use crate::{
    base::throw::throw,
    os::{Errno, Result, Shared},
};
use core::{
    cell::{Cell, RefCell, UnsafeCell},
    ffi::c_void,
    mem::MaybeUninit,
    ptr,
    sync::atomic::AtomicBool,
};
use parkword::{Claim, ParkWord};
use shuttle::thread::Thread;
use waitfor::Wait;

shuttle::lazy_static! {
    /// Models do not end: the stage is Open.
    pub(crate) static ref CLOSING: closing::Closing = closing::Closing::new();
}

pub(crate) type GmpFn = unsafe extern "C" fn(arg: *mut c_void);

/// As the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GStatus {
    Runnable,
    Running,
    Waiting,
    Dead,
}

/// As the real one.
pub(crate) struct AtEnd {
    pub run: fn(&AtEnd),
}

/// A goroutine, or the stand-in of a host thread.
pub(crate) struct G {
    pub park: ParkWord,
    pub claim: Claim,
    pub held: AtomicBool,
    status: Cell<GStatus>,
    /// The thread whose token wakes it.
    pub thread: RefCell<Option<Thread>>,
    index: u32,
    pub goid: Cell<u64>,
    pub flags: Cell<u16>,
    pub shields: Cell<u16>,
    pub defers: Cell<*mut c_void>,
    /// Always null: models have no keys.
    pub locals: Cell<*mut c_void>,
    pub at_end: Cell<*const AtEnd>,
    pub arg: Cell<*mut c_void>,
    wait: UnsafeCell<MaybeUninit<Wait>>,
}

impl G {
    /// As the real one.
    pub(crate) fn wait_of_steps(&self) -> *mut Wait {
        self.wait.get().cast()
    }

    /// Models have no dumps.
    pub(crate) fn stands_for(&self, _f: *const ()) {}

    fn new(index: u32) -> Self {
        Self {
            park: ParkWord::new(),
            claim: Claim::new(),
            held: AtomicBool::new(false),
            status: Cell::new(GStatus::Dead),
            thread: RefCell::new(None),
            index,
            goid: Cell::new(0),
            flags: Cell::new(0),
            shields: Cell::new(0),
            defers: Cell::new(ptr::null_mut()),
            locals: Cell::new(ptr::null_mut()),
            at_end: Cell::new(ptr::null()),
            arg: Cell::new(ptr::null_mut()),
            wait: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    pub(crate) fn shielded(&self) -> bool {
        self.shields.get() != 0
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    pub(crate) fn set_flag(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
    }

    pub(crate) fn clear_flag(&self, flag: u16) {
        self.flags.set(self.flags.get() & !flag);
    }

    pub(crate) fn is_host(&self) -> bool {
        self.has(gflag::HOST)
    }

    /// A model knows no addresses of stacks.
    pub(crate) fn on_stack(&self, _at: usize) -> bool {
        false
    }

    pub(crate) fn readgstatus(&self) -> GStatus {
        self.status.get()
    }
}

/// As the real one: a goroutine that is readied twice fails the model.
pub(crate) fn casgstatus(gp: &G, from: GStatus, to: GStatus) {
    if gp.status.replace(to) != from {
        throw("casgstatus: bad incoming status");
    }
}

/// The table of all Gs, and those that are dead.
#[derive(Default)]
struct Table {
    #[expect(clippy::vec_box, reason = "each stays where it is")]
    all: RefCell<Vec<Box<G>>>,
    free: RefCell<Vec<&'static G>>,
    goids: Cell<u64>,
}

shuttle::lazy_static! {
    static ref ALLG: Shared<Table> = Shared(Table::default());
}

fn g_at(index: usize) -> Option<&'static G> {
    let all = ALLG.0.all.borrow();
    let gp: *const G = &raw const **all.get(index)?;
    // SAFETY: in a box that lives until the end of the run.
    Some(unsafe { &*gp })
}

/// A dead G: the one that died last, or a new one.
pub(crate) fn gfget() -> &'static G {
    let gp = ALLG.0.free.borrow_mut().pop().unwrap_or_else(|| {
        let index = ALLG.0.all.borrow().len();
        ALLG.0.all.borrow_mut().push(Box::new(G::new(index as u32)));
        g_at(index).expect("just made")
    });
    ALLG.0.goids.set(ALLG.0.goids.get() + 1);
    gp.goid.set(ALLG.0.goids.get());
    gp
}

/// Makes `gp` dead: handles to it go stale.
pub(crate) fn gdestroy(gp: &'static G) {
    gp.park.next_generation();
    gp.shields.set(0);
    gp.flags.set(0);
    ALLG.0.free.borrow_mut().push(gp);
}

pub(crate) fn handle_of(gp: &G) -> *mut c_void {
    let generation = u64::from(gp.park.generation());
    (generation << 32 | u64::from(gp.index + 1)) as *mut c_void
}

pub(crate) fn generation_of(handle: *mut c_void) -> u32 {
    (handle as u64 >> 32) as u32
}

pub(crate) fn g_from_handle(handle: *mut c_void) -> Option<&'static G> {
    let index = (handle as u64 as u32).checked_sub(1)?;
    let gp = g_at(index as usize)?;
    (gp.park.generation() == generation_of(handle)).then_some(gp)
}

pub(crate) fn lookup(handle: *mut c_void) -> Result<&'static G> {
    g_from_handle(handle).ok_or(Errno::EINVAL)
}

pub(crate) fn lookup_live(handle: *mut c_void) -> Result<&'static G> {
    let gp = lookup(handle)?;
    if gp.readgstatus() == GStatus::Dead { Err(Errno::EINVAL) } else { Ok(gp) }
}
