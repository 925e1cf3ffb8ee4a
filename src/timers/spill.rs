//! The timers for which the heap's tables could not grow: a heap of links in
//! the timers themselves, so that no wait fails for want of memory.
//!
//! It is a pairing heap: a tree in which a node is due before its children.
//! Adding costs a comparison, removing a logarithm on average. It touches
//! timers all over memory, so it is not the usual heap.
//!
//! ```text
//!   root          prev: the node to the left; for a first child the
//!    |child             parent; null at the root
//!    a --next--> b --next--> c
//!    |child
//!    d
//! ```
//! Invariant 1: the timers in the tree are pending in the heap that has the
//! tree, so they live (invariant 2 of `timers`). Their nodes are initialised
//! and touched under that heap's lock only.

use super::timer::{Entry, Node, Timer};
use core::{cell::Cell, ptr};

/// A tree of timers, with the earliest one at the root.
pub(super) struct Spill {
    root: *const Timer,
    len: usize,
}

/// The node of `t`, which is in a tree or just enters one.
fn node<'a>(t: *const Timer) -> &'a Node {
    // SAFETY: pending, so it lives (invariant 1).
    let place = unsafe { &*t }.node.get().cast::<Node>();
    // SAFETY: initialised by add, and its Cells are under the lock (invariant
    // 1).
    unsafe { &*place }
}

impl Spill {
    pub(super) const fn new() -> Self {
        Self { root: ptr::null(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first timer and its node.
    pub(super) fn first(&self) -> Option<(*const Timer, &Node)> {
        (!self.root.is_null()).then(|| (self.root, node(self.root)))
    }

    /// Adds `t`, which comes up at `key` and whose own time is `when`.
    pub(super) fn add(&mut self, t: *const Timer, key: Entry, when: i64) {
        let new = Node {
            key: Cell::new(key),
            when: Cell::new(when),
            child: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
        };
        // SAFETY: the caller makes it pending, so it lives (invariant 1).
        let place = unsafe { &*t }.node.get().cast::<Node>();
        // SAFETY: nobody else touches the node, the heap is locked.
        unsafe { place.write(new) };
        self.len += 1;
        self.root = meld(self.root, t);
    }

    /// Takes `t` out; returns its own time.
    pub(super) fn remove(&mut self, t: *const Timer) -> i64 {
        self.len -= 1;
        let Node { when, child, next, prev, .. } = node(t);
        let below = merged(child.get());
        if ptr::eq(self.root, t) {
            self.root = below;
            return when.get();
        }
        let before = node(prev.get());
        if ptr::eq(before.child.get(), t) {
            before.child.set(next.get());
        } else {
            before.next.set(next.get());
        }
        if !next.get().is_null() {
            node(next.get()).prev.set(prev.get());
        }
        self.root = meld(self.root, below);
        when.get()
    }

    /// Whether each node comes up before its children, and the links agree.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let mut left = std::vec![self.root];
        let mut n = 0;
        while let Some(t) = left.pop() {
            if t.is_null() {
                continue;
            }
            n += 1;
            let mut before = t;
            let mut at = node(t).child.get();
            while !at.is_null() {
                let placed = ptr::eq(node(at).prev.get(), before);
                if !placed || node(at).key.get() < node(t).key.get() {
                    return false;
                }
                left.push(at);
                before = at;
                at = node(at).next.get();
            }
        }
        n == self.len
    }
}

/// Joins two trees, roots without neighbours; either may be empty.
fn meld(a: *const Timer, b: *const Timer) -> *const Timer {
    if a.is_null() || b.is_null() {
        return if a.is_null() { b } else { a };
    }
    let a_first = node(a).key.get() <= node(b).key.get();
    let (top, low) = if a_first { (a, b) } else { (b, a) };
    let child = &node(top).child;
    if !child.get().is_null() {
        node(child.get()).prev.set(low);
    }
    node(low).next.set(child.get());
    node(low).prev.set(top);
    child.set(low);
    top
}

/// Joins `first` and its neighbours to the right: first in pairs, and then all
/// the pairs.
fn merged(first: *const Timer) -> *const Timer {
    let (mut at, mut pairs) = (first, ptr::null());
    while let Some((a, b)) = cut(&mut at).map(|a| (a, cut(&mut at))) {
        let pair = meld(a, b.unwrap_or(ptr::null()));
        node(pair).next.set(pairs);
        pairs = pair;
    }
    let mut root = ptr::null();
    while let Some(pair) = cut(&mut pairs) {
        root = meld(root, pair);
    }
    root
}

/// Takes the first node off a row of neighbours.
fn cut(row: &mut *const Timer) -> Option<*const Timer> {
    let first = *row;
    if first.is_null() {
        return None;
    }
    *row = node(first).next.replace(ptr::null());
    node(first).prev.set(ptr::null());
    Some(first)
}
