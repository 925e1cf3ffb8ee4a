//! The line of an address, for models of locks that are wrong on purpose.

use crate::{
    block::parking::{self, Bucket, Place, Waited},
    gmp::wait::Wait,
    sched::host,
    timers::Deadline,
};

/// The line of an object, locked.
#[must_use]
pub struct Line(Bucket<'static>);

/// How a wait ended.
pub enum Ended {
    /// By a waker.
    Woken,
    /// By a deadline or a cancel (the error); the line is locked again.
    Left(i32, Line),
}

/// A waiter whose wait has ended.
#[must_use]
pub struct Woken(parking::Woken);

impl Line {
    /// Locks the line of an object.
    pub fn of<T>(object: &T) -> Self {
        Self(Bucket::of(object))
    }

    /// Waits in the line, unless the deadline or a cancel comes first.
    pub fn wait(self, deadline: i64) -> Ended {
        let wait = Wait::until(Deadline::at(deadline), c"model");
        let gp = host::current().expect("it may park");
        match self.0.wait(gp, &wait, Place::LAST, ()) {
            Waited::Woken { .. } => Ended::Woken,
            Waited::GaveUp { why, bucket, .. } => {
                Ended::Left(why.0, Self(bucket))
            }
        }
    }

    /// Takes the first waiter out.
    pub fn pop(&self) -> Option<Woken> {
        self.0.pop().map(Woken)
    }

    /// Whether the line is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Woken {
    /// Readies the waiter.
    pub fn wake(self) {
        self.0.wake();
    }
}
