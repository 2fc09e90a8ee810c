//! Encoding many texts on several threads, without Python.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use super::convert::CachePool;
use crate::cache::PieceCache;
use crate::encode::Encoder;
use crate::split::Splitter;

/// A thread takes texts of about so many bytes at a time, and a longer text is cut into parts of this size:
/// enough that taking them costs nothing, little enough that all threads are busy to the end.
const UNIT_BYTES: usize = 128 << 10;

/// A text, or a part of a long one.
struct Part<'t> {
    index: usize,
    text: &'t str,
}

/// The ids of some neighbouring parts of texts, in order.
pub struct Encoded {
    pub ids: Vec<u32>,
    /// For each part the index of its text and the number of its ids.
    pub parts: Vec<(usize, usize)>,
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

    /// The ids of all texts, in order.
    pub fn encode(&self, threads: usize) -> Result<Vec<Encoded>, String> {
        self.on_threads(threads, |splitter, cache, parts| {
            let bytes: usize = parts.iter().map(|part| part.text.len()).sum();
            let mut encoded = Encoded {
                ids: Vec::with_capacity(bytes / 3),
                parts: Vec::with_capacity(parts.len()),
            };
            for part in parts {
                let before = encoded.ids.len();
                let done = self
                    .encoder
                    .encode(splitter, part.text, cache, &mut encoded.ids);
                done.map_err(|error| failed(part, &error))?;
                encoded.parts.push((part.index, encoded.ids.len() - before));
            }
            Ok(encoded)
        })
    }

    /// The index of a text and the number of ids of a part of it, for all parts.
    pub fn count(&self, threads: usize) -> Result<Vec<(usize, usize)>, String> {
        let counted = self.on_threads(threads, |splitter, cache, parts| {
            let count = |part: &Part<'_>| {
                let count = self.encoder.count(splitter, part.text, cache);
                Ok((part.index, count.map_err(|error| failed(part, &error))?))
            };
            parts.iter().map(count).collect::<Result<Vec<_>, String>>()
        })?;
        Ok(counted.into_iter().flatten().collect())
    }

    /// Runs `work` over the units; each thread takes the next as soon as it is free. The results are in
    /// the order of the units, and the error is that of the first unit that fails, however many threads
    /// there are: fewer than wanted where the system gives no more.
    fn on_threads<T: Send>(
        &self,
        threads: usize,
        work: impl Fn(&Splitter, &mut PieceCache, &[Part<'t>]) -> Result<T, String> + Sync,
    ) -> Result<Vec<T>, String> {
        let next = AtomicUsize::new(0);
        let run = |cache: &mut PieceCache| -> Result<Vec<(usize, T)>, (usize, String)> {
            // A regular expression is slow to share.
            let splitter = self.splitter.clone();
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(unit) = self.units.get(index) else {
                    return Ok(done);
                };
                match work(&splitter, cache, &self.parts[unit.clone()]) {
                    Ok(result) => done.push((index, result)),
                    Err(error) => {
                        // No unit is taken any more; those before this one have been, and are finished.
                        next.store(self.units.len(), Ordering::Relaxed);
                        return Err((index, error));
                    }
                }
            }
        };
        let all = std::thread::scope(|scope| {
            let start = |_| {
                let thread = Builder::new().spawn_scoped(scope, || self.caches.with(run));
                thread.ok()
            };
            let others: Vec<_> = (1..threads.min(self.units.len()))
                .map_while(start)
                .collect();
            let mut all = self.caches.with(run);
            for other in others {
                let panicked = |_| Err((usize::MAX, "an encoding thread panicked".into()));
                all = match (all, other.join().unwrap_or_else(panicked)) {
                    (Ok(mut all), Ok(done)) => {
                        all.extend(done);
                        Ok(all)
                    }
                    (Err(one), Err(other)) => Err(one.min(other)),
                    (Err(error), _) | (_, Err(error)) => Err(error),
                };
            }
            all
        });
        let mut all = all.map_err(|(_, error)| error)?;
        all.sort_unstable_by_key(|&(index, _)| index);
        Ok(all.into_iter().map(|(_, done)| done).collect())
    }
}

fn failed(part: &Part<'_>, error: &str) -> String {
    format!(
        "the pattern failed on item {} of texts: {error}",
        part.index
    )
}
