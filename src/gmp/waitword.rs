//! The two words of `parkword` as they are read: bits with names, and questions
//! to them. Nothing here is atomic.
//!
//! | bits | [`Word`] |
//! |---|---|
//! | 0, 1 | state: Idle, Armed, Parked, Fired |
//! | 2, 3 | the events that end the wait: a permit, a cancel |
//! | 4, 5 | once it is over: the [`Cause`] |
//! | 6, 7 | its wakers hold a lock; it is one lock |
//! | 8 to 63 | sequence number of the wait |
//!
//! | bits | [`Pending`] |
//! |---|---|
//! | 0, 1 | a permit, a cancel that has come |
//! | 2 | cancels do not reach the goroutine |
//! | 32 to 63 | generation of the G |
//!
//! A [`Ticket`] is a word without state and cause: what stays the same during
//! one wait.

/// The state, in the lowest bits of the word.
pub const STATE: u64 = 3;
pub(super) const IDLE: u64 = 0;
pub(super) const ARMED: u64 = 1;
pub const PARKED: u64 = 2;
pub(super) const FIRED: u64 = 3;
/// The wait ends at a `gmp_ready`.
pub(super) const READYABLE: u64 = 1 << 2;
/// The wait ends at a cancel.
pub(super) const CANCELLABLE: u64 = 1 << 3;
pub(super) const CAUSE_SHIFT: u32 = 4;
pub(super) const CAUSE: u64 = 3 << CAUSE_SHIFT;
pub(super) const TIMEOUT: u64 = (Cause::Timeout as u64) << CAUSE_SHIFT;
/// Wakers hold a lock that the waiter held until its commit.
pub(super) const LOCKED: u64 = 1 << 6;
/// It is the same one for all of them.
pub(super) const ONE_LOCK: u64 = 1 << 7;
/// Where the sequence number begins.
pub(super) const SEQ: u64 = 1 << 8;

pub(super) const PERMIT: u64 = 1;
pub(super) const CANCEL: u64 = 2;
pub(super) const GENERATION_SHIFT: u32 = 32;
pub(super) const FIRST: u64 = 1 << GENERATION_SHIFT;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// What it waited for happened.
    Wake = 0,
    /// Its deadline passed.
    Timeout = 1,
    /// Its goroutine was cancelled.
    Cancel = 2,
}

/// One wait of one goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket as a number, to travel through a timer.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The reverse of [`Ticket::raw`].
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl Ticket {
    /// Whether wakers hold a lock.
    #[inline(always)]
    pub(super) fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    /// Whether that is one lock.
    #[inline(always)]
    pub(super) fn is_one_lock(self) -> bool {
        self.0 & ONE_LOCK != 0
    }

    #[inline(always)]
    pub(super) fn armed(self) -> Word {
        Word(self.0 | ARMED)
    }

    #[inline(always)]
    pub(super) fn parked(self) -> Word {
        Word(self.0 | PARKED)
    }

    #[inline(always)]
    pub(super) fn fired(self, cause: Cause) -> Word {
        Word(self.0 | FIRED | ((cause as u64) << CAUSE_SHIFT))
    }
}

/// The word: state, kind of the wait, cause of its end, sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) fn state(self) -> u64 {
        self.0 & STATE
    }

    /// Whether a wait is under way, unless it was claimed.
    #[inline(always)]
    pub(super) fn is_waiting(self) -> bool {
        matches!(self.state(), ARMED | PARKED)
    }

    /// Whether its wait ends at one of these events.
    #[inline(always)]
    pub(super) fn ends_at(self, events: u64) -> bool {
        self.0 & events != 0
    }

    /// Whether its wait was won by a claim, if its owner runs again.
    pub(super) fn is_parked_behind_one_lock(self) -> bool {
        self.0 & (STATE | ONE_LOCK | CAUSE) == PARKED | ONE_LOCK
    }

    /// The ticket of its wait.
    #[inline(always)]
    pub(super) fn ticket(self) -> Ticket {
        Ticket(self.0 & !STATE)
    }

    /// The ticket of the next wait, which has these bits.
    #[inline(always)]
    pub(super) fn next(self, kind: u64) -> Ticket {
        Ticket(((self.0 & !(SEQ - 1)).wrapping_add(SEQ)) | kind)
    }

    /// The same wait, over: the sequence number stays.
    #[inline(always)]
    pub(super) fn idle(self) -> Self {
        Self(self.0 & !(STATE | CAUSE))
    }

    #[inline(always)]
    pub(super) fn cause(self) -> Cause {
        match self.0 & CAUSE {
            0 => Cause::Wake,
            TIMEOUT => Cause::Timeout,
            _ => Cause::Cancel,
        }
    }
}

/// What waits for the goroutine, and the generation of the G.
#[derive(Clone, Copy)]
pub(super) struct Pending(pub(super) u64);

impl Pending {
    pub(super) fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// The first word of the next generation.
    pub(super) fn next_generation(self) -> Self {
        Self((self.0 & !(FIRST - 1)).wrapping_add(FIRST))
    }

    #[inline(always)]
    pub(super) fn cancelled(self) -> bool {
        self.0 & CANCEL != 0
    }

    pub(super) fn permit(self) -> bool {
        self.0 & PERMIT != 0
    }

    /// Whether neither a permit nor a cancel is there.
    #[inline(always)]
    pub(super) fn is_none(self) -> bool {
        self.0 & (PERMIT | CANCEL) == 0
    }
}
