//! Encoding many texts on several threads, without Python.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use hashbrown::HashMap;

use crate::cache::PieceCache;
use crate::encode::{Encoder, ids_at_first};
use crate::pages::prefer_large;
use crate::pool::CachePool;
use crate::split::Splitter;

/// A thread takes texts of about so many bytes at a time, and a longer text is cut into parts of this size:
/// enough that taking them costs nothing, little enough that all threads are busy to the end.
const UNIT_BYTES: usize = 128 << 10;

/// A text, or a part of a long one.
struct Part<'t> {
    index: usize,
    text: &'t str,
}

/// Ids of all texts in order, and how many each text has.
pub struct Encoded {
    pub ids: Vec<u32>,
    pub counts: Vec<u64>,
}

/// Texts, and what encodes them.
pub struct Batch<'t> {
    encoder: &'t Encoder,
    splitter: &'t Splitter,
    caches: &'t CachePool,
    texts: usize,
    bytes: usize,
    parts: Vec<Part<'t>>,
    units: Vec<Range<usize>>,
}

impl<'t> Batch<'t> {
    pub fn new(
        encoder: &'t Encoder,
        splitter: &'t Splitter,
        caches: &'t CachePool,
        texts: &[&'t str],
    ) -> Batch<'t> {
        let mut parts = Vec::with_capacity(texts.len());
        let mut units = Vec::new();
        let (mut first, mut bytes) = (0, 0);
        for (index, &text) in texts.iter().enumerate() {
            for text in splitter.parts(text, UNIT_BYTES) {
                parts.push(Part { index, text });
                bytes += text.len();
                if bytes >= UNIT_BYTES {
                    units.push(first..parts.len());
                    (first, bytes) = (parts.len(), 0);
                }
            }
        }
        units.push(first..parts.len());
        Batch {
            encoder,
            splitter,
            caches,
            texts: texts.len(),
            bytes: texts.iter().map(|text| text.len()).sum(),
            parts,
            units,
        }
    }

    /// The ids of all texts, in order.
    pub fn encode(&self, threads: usize) -> Result<Encoded, String> {
        let threads = threads.min(self.units.len());
        let mut ids = Vec::with_capacity(ids_at_first(self.bytes));
        // Before anything is written: the system gives pages at the first write.
        prefer_large(ids.spare_capacity_mut());
        let (ordered, counts) = (Mutex::new(Ordered::new(ids, threads)), self.no_counts());
        self.on_threads(threads, |splitter, cache, unit, parts| {
            let mut ids = lock(&ordered).room();
            let encode = |text: &str| {
                let before = ids.len();
                let done = self.encoder.encode(splitter, text, cache, &mut ids);
                done.map(|()| ids.len() - before)
            };
            each(parts, &counts, encode)?;
            lock(&ordered).add(unit, ids);
            Ok(())
        })?;
        let ordered = ordered.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Encoded {
            ids: ordered.ids,
            counts: values(counts),
        })
    }

    /// The number of ids of each text.
    pub fn count(&self, threads: usize) -> Result<Vec<u64>, String> {
        let counts = self.no_counts();
        self.on_threads(threads, |splitter, cache, _, parts| {
            each(parts, &counts, |text| {
                self.encoder.count(splitter, text, cache)
            })
        })?;
        Ok(values(counts))
    }

    fn no_counts(&self) -> Vec<AtomicU64> {
        (0..self.texts).map(|_| AtomicU64::new(0)).collect()
    }

    /// Runs `work` over the units; each thread takes the next as soon as it is free. The error is that of
    /// the first unit that fails, however many threads there are: fewer than wanted where the system gives
    /// no more.
    fn on_threads(
        &self,
        threads: usize,
        work: impl Fn(&Splitter, &mut PieceCache, usize, &[Part<'t>]) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        let next = AtomicUsize::new(0);
        let run = |cache: &mut PieceCache| -> Result<(), (usize, String)> {
            // A regular expression is slow to share.
            let splitter = self.splitter.clone();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(unit) = self.units.get(index) else {
                    return Ok(());
                };
                if let Err(error) = work(&splitter, cache, index, &self.parts[unit.clone()]) {
                    // No unit is taken any more; those before this one have been, and are finished.
                    next.store(self.units.len(), Ordering::Relaxed);
                    return Err((index, error));
                }
            }
        };
        let done = std::thread::scope(|scope| {
            let start = |_| {
                let thread = Builder::new().spawn_scoped(scope, || self.caches.with(run));
                thread.ok()
            };
            let others: Vec<_> = (1..threads.min(self.units.len()))
                .map_while(start)
                .collect();
            let mut done = vec![self.caches.with(run)];
            for other in others {
                let panicked = |_| Err((usize::MAX, "an encoding thread panicked".into()));
                done.push(other.join().unwrap_or_else(panicked));
            }
            done
        });
        match done.into_iter().filter_map(Result::err).min() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Adds to the count of each part's text what `ids` says of the part.
fn each(
    parts: &[Part<'_>],
    counts: &[AtomicU64],
    mut ids: impl FnMut(&str) -> Result<usize, String>,
) -> Result<(), String> {
    for &Part { index, text } in parts {
        let count = ids(text)
            .map_err(|error| format!("the pattern failed on item {index} of texts: {error}"))?;
        counts[index].fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn values(counts: Vec<AtomicU64>) -> Vec<u64> {
    counts.into_iter().map(AtomicU64::into_inner).collect()
}

fn lock(ordered: &Mutex<Ordered>) -> MutexGuard<'_, Ordered> {
    ordered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings the ids of units into order as they come.
struct Ordered {
    ids: Vec<u32>,
    /// A single thread writes into `ids` itself.
    alone: bool,
    /// The next unit that goes behind `ids`, and those that came before it.
    next: usize,
    waiting: HashMap<usize, Vec<u32>>,
    /// Room of units that are in their place.
    rooms: Vec<Vec<u32>>,
}

impl Ordered {
    fn new(ids: Vec<u32>, threads: usize) -> Ordered {
        Ordered {
            ids,
            alone: threads <= 1,
            next: 0,
            waiting: HashMap::new(),
            rooms: Vec::new(),
        }
    }

    /// Where the ids of a unit are to be appended.
    fn room(&mut self) -> Vec<u32> {
        if self.alone {
            return std::mem::take(&mut self.ids);
        }
        self.rooms.pop().unwrap_or_default()
    }

    /// Takes what [`Ordered::room`] gave, with the ids of a unit.
    fn add(&mut self, unit: usize, ids: Vec<u32>) {
        if self.alone {
            self.ids = ids;
            return;
        }
        self.waiting.insert(unit, ids);
        while let Some(mut ids) = self.waiting.remove(&self.next) {
            // They are still in the processor's caches.
            self.ids.extend_from_slice(&ids);
            self.next += 1;
            ids.clear();
            self.rooms.push(ids);
        }
    }
}
