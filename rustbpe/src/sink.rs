//! Where the ids of a text go: into room that was made beforehand, or only into a count.

/// Ids that are written at once: a piece has rarely more, and four are one store.
pub const FEW: usize = 4;

/// Takes ids in order.
pub trait Sink {
    /// Takes the first `len` of `ids`, at most [`FEW`].
    fn few(&mut self, ids: [u32; FEW], len: usize);

    fn many(&mut self, ids: &[u32]);

    /// How many were taken.
    fn taken(&self) -> usize;
}

/// Writes ids to the front of `room`, which must have [`FEW`] places more than there are ids.
pub struct Room<'a> {
    room: &'a mut [u32],
    len: usize,
}

impl<'a> Room<'a> {
    /// The places that are enough for every text of so many bytes.
    pub fn places(bytes: usize) -> usize {
        bytes + FEW
    }

    pub fn new(room: &'a mut [u32]) -> Room<'a> {
        Room { room, len: 0 }
    }
}

impl Sink for Room<'_> {
    #[inline(always)]
    fn few(&mut self, ids: [u32; FEW], len: usize) {
        // All four are written, and the next ids go over those that were too many.
        self.room[self.len..][..FEW].copy_from_slice(&ids);
        self.len += len;
    }

    fn many(&mut self, ids: &[u32]) {
        self.room[self.len..][..ids.len()].copy_from_slice(ids);
        self.len += ids.len();
    }

    fn taken(&self) -> usize {
        self.len
    }
}

/// Only counts.
#[derive(Default)]
pub struct Count(usize);

impl Sink for Count {
    #[inline(always)]
    fn few(&mut self, _ids: [u32; FEW], len: usize) {
        self.0 += len;
    }

    fn many(&mut self, ids: &[u32]) {
        self.0 += ids.len();
    }

    fn taken(&self) -> usize {
        self.0
    }
}
