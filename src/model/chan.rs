//! Channels and select, with elements of eight bytes.

use super::{FOREVER, Result, number};
use crate::{
    block::{
        chan::{self, Block, GmpChan},
        element::Extra,
        firing,
        select::{self, Case, RECV, SEND},
    },
    os::Errno,
    timers::Deadline,
};
use core::{
    array,
    ffi::c_void,
    ptr, slice,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A reference to a channel.
#[derive(Debug)]
pub struct Chan(*mut GmpChan);

// SAFETY: a channel is counted, and locks itself.
unsafe impl Send for Chan {}
// SAFETY: a channel is counted, and locks itself.
unsafe impl Sync for Chan {}

impl Clone for Chan {
    fn clone(&self) -> Self {
        self.ch().add_ref();
        Self(self.0)
    }
}

impl Drop for Chan {
    fn drop(&mut self) {
        // SAFETY: this value is one reference, dropped once.
        unsafe { GmpChan::unref(self.0) };
    }
}

impl Chan {
    /// A channel.
    pub fn new(capacity: usize) -> Self {
        Self(GmpChan::make(8, capacity).expect("memory"))
    }

    /// A channel whose elements are moved and destroyed by functions, which
    /// check that no element is used twice.
    pub fn owning(capacity: usize) -> Self {
        let extra = Extra::new(Some(destroy), Some(relocate));
        let made = GmpChan::make_with(8, capacity, Some((extra, c"owning")));
        Self(made.expect("memory"))
    }

    /// `gmp_after`; with a period, `gmp_tick`.
    pub fn ticking(ns: i64, period: i64) -> Self {
        Self(firing::channel(ns, period))
    }

    /// Several channels, in the order in which select locks them.
    pub fn several<const N: usize>(capacity: usize) -> [Self; N] {
        let all = array::from_fn(|_| Self::new(capacity));
        assert!(all.is_sorted_by_key(|c| c.0.addr()), "the arena ascends");
        all
    }

    pub(super) fn ch(&self) -> &GmpChan {
        // SAFETY: this value is a reference, so the channel lives.
        unsafe { &*self.0 }
    }

    fn send_or(&self, mut elem: u64, block: Block) -> Result<()> {
        let elem = ptr::from_mut(&mut elem).cast_const().cast();
        number(chan::send(Some(self.ch()), elem, block))
    }

    fn recv_or(&self, block: Block) -> Result<u64> {
        let mut elem = u64::MAX;
        let place = ptr::from_mut(&mut elem).cast();
        number(chan::recv(Some(self.ch()), place, block)).map(|()| elem)
    }

    /// Sends, unless the deadline comes first.
    pub fn send(&self, elem: u64, deadline: i64) -> Result<()> {
        self.send_or(elem, Block::Until(Deadline::at(deadline)))
    }

    /// Receives, unless the deadline comes first.
    pub fn recv(&self, deadline: i64) -> Result<u64> {
        self.recv_or(Block::Until(Deadline::at(deadline)))
    }

    /// Receives without a place, unless the deadline comes first.
    pub fn drop_one(&self, deadline: i64) -> Result<()> {
        let block = Block::Until(Deadline::at(deadline));
        number(chan::recv(Some(self.ch()), ptr::null_mut(), block))
    }

    /// Sends if possible without waiting.
    pub fn try_send(&self, elem: u64) -> Result<()> {
        self.send_or(elem, Block::Not)
    }

    /// Receives if possible without waiting.
    pub fn try_recv(&self) -> Result<u64> {
        self.recv_or(Block::Not)
    }

    /// Closes it.
    pub fn close(&self) -> Result<()> {
        number(chan::close(self.ch()))
    }
}

/// What is left where an element was.
const GONE: u64 = u64::MAX;

shuttle::lazy_static! {
    /// Elements of this run that were destroyed.
    static ref DESTROYED: AtomicU64 = AtomicU64::new(0);
}

/// How many elements of owning channels this run has destroyed.
pub fn destroyed() -> u64 {
    DESTROYED.load(Relaxed)
}

unsafe extern "C" fn relocate(to: *mut c_void, from: *mut c_void) {
    // SAFETY: the channel's element, and room for it.
    let elem = unsafe { from.cast::<u64>().replace(GONE) };
    assert_ne!(elem, GONE, "moved twice");
    // SAFETY: the channel's element, and room for it.
    unsafe { to.cast::<u64>().write(elem) };
}

unsafe extern "C" fn destroy(elem: *mut c_void) {
    // SAFETY: the channel's element.
    let elem = unsafe { elem.cast::<u64>().replace(GONE) };
    assert_ne!(elem, GONE, "destroyed twice");
    DESTROYED.fetch_add(1, Relaxed);
}

/// A case of a select.
#[derive(Clone, Copy, Debug)]
pub enum Do<'a> {
    /// Sends the number.
    Send(&'a Chan, u64),
    /// Receives.
    Recv(&'a Chan),
    /// Is never ready.
    Nothing,
}

/// The result of a select: the case, and the element received or an error.
pub type Done = (usize, Result<u64>);

/// `gmp_case`.
#[repr(C)]
struct Raw {
    ch: *mut GmpChan,
    elem: *mut u8,
    op: i32,
    result: i32,
}

const _: () = assert!(size_of::<Raw>() == size_of::<Case>());
/// The value of a case's result before the select.
const NO_RESULT: i32 = 1;

fn select_or(cases: &[Do<'_>], block: Block) -> Result<Done> {
    let mut elems: Vec<u64> = cases
        .iter()
        .map(|case| if let Do::Send(_, elem) = case { *elem } else { 0 })
        .collect();
    let mut raw: Vec<Raw> = cases
        .iter()
        .zip(&mut elems)
        .map(|(case, elem)| {
            let (ch, op) = match case {
                Do::Send(ch, _) => (ch.0, SEND),
                Do::Recv(ch) => (ch.0, RECV),
                Do::Nothing => (ptr::null_mut(), RECV),
            };
            let elem = ptr::from_mut(elem).cast();
            Raw { ch, elem, op, result: NO_RESULT }
        })
        .collect();
    // SAFETY: a Raw is laid out as a Case.
    let list = unsafe {
        slice::from_raw_parts_mut(raw.as_mut_ptr().cast::<Case>(), raw.len())
    };
    let index = number(select::select(list, block))?;
    for (i, case) in raw.iter().enumerate() {
        assert_eq!(i == index, case.result != NO_RESULT, "one result");
    }
    let result = raw[index].result;
    // Read where the select has put the element.
    let elem = raw[index].elem.cast::<u64>();
    // SAFETY: points into `elems`.
    let elem = unsafe { elem.read() };
    Ok((index, if result == 0 { Ok(elem) } else { Err(-result) }))
}

/// Performs one of the cases, unless the deadline comes first.
pub fn select(cases: &[Do<'_>], deadline: i64) -> Result<Done> {
    select_or(cases, Block::Until(Deadline::at(deadline)))
}

/// Performs one of the cases if possible without waiting.
pub fn try_select(cases: &[Do<'_>]) -> Result<Done> {
    select_or(cases, Block::Not)
}

// Tests use this module's constant.
const _: () = assert!(Deadline::at(FOREVER).is_never());
const _: () = assert!(Errno::EAGAIN.0 == libc::EAGAIN);
