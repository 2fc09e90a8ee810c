//! Where the ids of a text go: into room that was made beforehand, or only into a count.

use std::mem::MaybeUninit;

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
    room: &'a mut [MaybeUninit<u32>],
    len: usize,
}

impl<'a> Room<'a> {
    /// The places that are enough for every text of so many bytes.
    pub fn places(bytes: usize) -> usize {
        bytes + FEW
    }

    /// Lets `give` append to `ids` what a text of `bytes` bytes becomes.
    pub fn at_end<E>(
        ids: &mut Vec<u32>,
        bytes: usize,
        give: impl FnOnce(&mut Room<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        ids.reserve(Room::places(bytes));
        let mut room = Room {
            room: ids.spare_capacity_mut(),
            len: 0,
        };
        give(&mut room)?;
        let taken = room.len;
        // SAFETY: the first `taken` places of the spare capacity were written, for `len` moves only over such.
        unsafe { ids.set_len(ids.len() + taken) };
        Ok(())
    }
}

impl Sink for Room<'_> {
    #[inline(always)]
    fn few(&mut self, ids: [u32; FEW], len: usize) {
        // All four are written, and the next ids go over those that were too many.
        assert!(len <= FEW);
        self.room[self.len..][..FEW].copy_from_slice(&ids.map(MaybeUninit::new));
        self.len += len;
    }

    fn many(&mut self, ids: &[u32]) {
        write(ids, &mut self.room[self.len..][..ids.len()]);
        self.len += ids.len();
    }

    fn taken(&self) -> usize {
        self.len
    }
}

/// Copies `values` to `places`, which are as many.
pub fn write<T: Copy>(values: &[T], places: &mut [MaybeUninit<T>]) {
    // SAFETY: the layout is the same, and what is initialized may be read as what may not be.
    let values = unsafe { &*(std::ptr::from_ref(values) as *const [MaybeUninit<T>]) };
    places.copy_from_slice(values);
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
