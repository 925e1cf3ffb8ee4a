//! The heap in a model: no process with one.

/// Records for collections, of which there are none.
pub(crate) mod kept {
    pub(crate) type Words = fn(&Kept, &mut dyn FnMut(usize, usize));

    pub(crate) struct Kept;

    pub(crate) fn wanted() -> bool {
        false
    }

    impl Kept {
        pub(crate) const fn new() -> Self {
            Self
        }

        pub(crate) unsafe fn add(&self, _words: Words) {}

        pub(crate) fn remove(&self) {}
    }
}
