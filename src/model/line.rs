//! The line of an address, for models of locks that are wrong on purpose.

use crate::{
    block::parking::{self, Bucket, End, How, Place},
    sched::host,
};

/// The line of an object, locked.
#[must_use]
pub struct Line(Bucket<'static>);

/// How a wait ended.
pub enum Ended {
    /// Somebody woke it.
    Woken,
    /// A deadline or a cancel came (the error), and the line is locked again.
    Left(i32, Line),
}

/// Whose wait has ended.
#[must_use]
pub struct Woken(parking::Woken);

impl Line {
    /// Locks the line of an object.
    pub fn of<T>(object: &T) -> Self {
        Self(Bucket::of(object))
    }

    /// Waits in it, unless the deadline or a cancel comes first.
    pub fn wait(self, deadline: i64) -> Ended {
        let how = How::until(deadline, c"model");
        let gp = host::current().expect("it may park");
        match self.0.wait(gp, how, Place::LAST, None) {
            End::Woken { .. } => Ended::Woken,
            End::Left(e, bucket) => Ended::Left(e.0, Self(bucket)),
        }
    }

    /// Takes the first out.
    pub fn pop(&self) -> Option<Woken> {
        self.0.pop().map(Woken)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Woken {
    /// Lets it go on.
    pub fn wake(self) {
        self.0.wake();
    }
}
