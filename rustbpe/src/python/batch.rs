//! Encoding many texts on several threads, without Python.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::convert::CachePool;
use crate::cache::PieceCache;
use crate::encode::Encoder;
use crate::pages::prefer_large;
use crate::split::Splitter;

/// A thread takes texts of about so many bytes at a time, and a longer text is cut into parts of this size:
/// enough that taking them costs nothing, little enough that all threads are busy to the end.
const UNIT_BYTES: usize = 128 << 10;

/// A text, or a part of a long one.
struct Part<'t> {
    index: usize,
    text: &'t str,
}

/// The ids of all texts, where the threads left them.
pub struct Encoded {
    /// What each thread wrote.
    stores: Vec<Vec<u32>>,
    /// In the order of the texts.
    units: Vec<Unit>,
}

/// The ids of some neighbouring parts of texts: a range of a thread's store.
struct Unit {
    store: usize,
    ids: Range<usize>,
    parts: Vec<PartIds>,
}

/// The index of a text, and the number of ids of a part of it.
pub type PartIds = (usize, usize);

impl Encoded {
    /// The ids, some neighbouring parts at a time, in order.
    pub fn units(&self) -> impl ExactSizeIterator<Item = (&[u32], &[PartIds])> {
        self.units.iter().map(|unit| {
            let ids = &self.stores[unit.store][unit.ids.clone()];
            (ids, unit.parts.as_slice())
        })
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.units.iter().map(|unit| unit.ids.len()).sum()
    }
}

/// Texts, and what encodes them.
pub struct Batch<'t> {
    encoder: &'t Encoder,
    splitter: &'t Splitter,
    caches: &'t CachePool,
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
            parts,
            units,
        }
    }

    /// The ids of all texts.
    pub fn encode(&self, threads: usize) -> Result<Encoded, String> {
        let bytes: usize = self.parts.iter().map(|part| part.text.len()).sum();
        // Too few places are no harm: a store of megabytes grows without being copied.
        let store = || {
            let mut store = Vec::<u32>::with_capacity(bytes / 3 / threads.min(self.units.len()));
            prefer_large(store.spare_capacity_mut());
            store
        };
        let done = self.on_threads(
            threads,
            store,
            |splitter, cache, parts, store: &mut Vec<u32>| {
                let start = store.len();
                let mut counts = Vec::with_capacity(parts.len());
                for part in parts {
                    let before = store.len();
                    let done = self.encoder.encode(splitter, part.text, cache, store);
                    done.map_err(|error| failed(part, &error))?;
                    counts.push((part.index, store.len() - before));
                }
                Ok((start..store.len(), counts))
            },
        )?;
        let mut stores = Vec::with_capacity(done.len());
        let mut units = Vec::with_capacity(self.units.len());
        for (store, (ids, results)) in done.into_iter().enumerate() {
            stores.push(ids);
            let unit = |(index, (ids, parts))| (index, Unit { store, ids, parts });
            units.extend(results.into_iter().map(unit));
        }
        units.sort_unstable_by_key(|&(index, _)| index);
        let units = units.into_iter().map(|(_, unit)| unit).collect();
        Ok(Encoded { stores, units })
    }

    /// The index of a text and the number of ids of a part of it, for all parts in any order.
    pub fn count(&self, threads: usize) -> Result<Vec<PartIds>, String> {
        let done = self.on_threads(
            threads,
            || (),
            |splitter, cache, parts, ()| {
                let count = |part: &Part<'_>| {
                    let count = self.encoder.count(splitter, part.text, cache);
                    Ok((part.index, count.map_err(|error| failed(part, &error))?))
                };
                parts.iter().map(count).collect::<Result<Vec<_>, String>>()
            },
        )?;
        let results = done.into_iter().flat_map(|(_, results)| results);
        Ok(results.flat_map(|(_, counts)| counts).collect())
    }

    /// Runs `work` over the units; each thread takes the next as soon as it is free. Of each thread what
    /// `begin` made and `work` left, and the results with the index of their unit.
    #[allow(clippy::type_complexity)] // said above
    fn on_threads<S: Send, T: Send>(
        &self,
        threads: usize,
        begin: impl Fn() -> S + Sync,
        work: impl Fn(&Splitter, &mut PieceCache, &[Part<'t>], &mut S) -> Result<T, String> + Sync,
    ) -> Result<Vec<(S, Vec<(usize, T)>)>, String> {
        let next = AtomicUsize::new(0);
        let run = |cache: &mut PieceCache| {
            // A regular expression is slow to share.
            let splitter = self.splitter.clone();
            let (mut state, mut done) = (begin(), Vec::new());
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(unit) = self.units.get(index) else {
                    return Ok::<_, String>((state, done));
                };
                let parts = &self.parts[unit.clone()];
                done.push((index, work(&splitter, cache, parts, &mut state)?));
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(self.units.len()))
                .map(|_| scope.spawn(|| self.caches.with(run)))
                .collect();
            let mut all = vec![self.caches.with(run)];
            for other in others {
                let done = other.join();
                all.push(done.unwrap_or_else(|_| Err("an encoding thread panicked".into())));
            }
            all.into_iter().collect()
        })
    }
}

fn failed(part: &Part<'_>, error: &str) -> String {
    format!(
        "the pattern failed on item {} of texts: {error}",
        part.index
    )
}
