//! Learning the merges: greedy byte-pair encoding over distinct weighted words.
//!
//! All words lie in one array of cells, a cell for each byte, with a boundary cell between words.
//! A token of n bytes that starts at cell p writes its id at p and at p + n - 1, so both neighbours
//! of a position are found by arithmetic. Each pair keeps the ascending list of positions where it
//! occurs. Merging a pair visits exactly these positions.
//!
//! A merge of (a, b) lowers the counts of pairs (x, a) and (b, y). They are not looked up then: a
//! pair that comes to the head of the queue after such a merge is recounted from its own list, which
//! at the same time drops the positions that are gone.

use crate::pages::prefer_large;
use crate::queue::{Candidate, Queue};

/// A merge: the ids of its two parts. Merge number i makes token 256 + i.
pub type Pair = (u32, u32);

/// The token of a cell between two words.
const BOUNDARY: u32 = u32::MAX;
/// The token of a cell where a token started before it was merged into the one on its left.
const DEAD: u32 = u32::MAX - 1;
/// The tokens before the first merge: one for each byte.
const BYTES: usize = 256;

/// Cells are prefetched this many list entries ahead: about as many cache misses as one core has in
/// flight.
const LOOKAHEAD: usize = 12;

/// Why training ended without a result.
#[derive(Debug, PartialEq, Eq)]
pub enum TrainError<E> {
    /// The distinct words have more bytes than a position can number.
    TooManyBytes(u64),
    /// The caller's `tick` asked to stop.
    Stopped(E),
}

#[derive(Clone, Copy)]
struct Cell {
    token: u32,
    /// Occurrences of the word that this cell belongs to.
    weight: u32,
}

/// Distinct words laid out for training.
pub struct Corpus {
    cells: Vec<Cell>,
}

impl Default for Corpus {
    fn default() -> Self {
        Corpus {
            cells: vec![Cell {
                token: BOUNDARY,
                weight: 0,
            }],
        }
    }
}

impl Corpus {
    /// Makes room for words of `bytes` bytes in all, a byte more for each word.
    pub fn reserve(&mut self, bytes: usize) {
        self.cells.reserve(bytes);
        // Positions far apart are read one after the other.
        prefer_large(self.cells.spare_capacity_mut());
    }

    /// Adds a word that occurred `count` times. Words under two bytes hold no pair.
    pub fn push(&mut self, word: &[u8], mut count: u64) {
        if word.len() < 2 {
            return;
        }
        // A weight has 32 bits; a more frequent word is entered several times over.
        while count > 0 {
            let weight = count.min(u64::from(u32::MAX)) as u32;
            let cell = |&byte: &u8| Cell {
                token: u32::from(byte),
                weight,
            };
            self.cells.extend(word.iter().map(cell));
            self.cells.push(Cell {
                token: BOUNDARY,
                weight: 0,
            });
            count -= u64::from(weight);
        }
    }
}

/// The position list of a pair.
struct Record {
    start: usize,
    len: u32,
    /// The merge after which the count in the queue was exact.
    counted_at: u32,
}

/// The neighbours of a new token on one side, collected during its merge.
#[derive(Default)]
struct Neighbours {
    /// By token id: weight and number of positions, reset after each merge.
    by_token: Vec<Tally>,
    touched: Vec<u32>,
    /// (neighbour, position of the new pair) in the order found, so ascending for each neighbour.
    events: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    weight: u64,
    positions: u32,
    next_slot: usize,
}

impl Neighbours {
    #[inline(always)]
    fn add(&mut self, token: u32, position: usize, weight: u32) {
        let tally = &mut self.by_token[token as usize];
        if tally.positions == 0 {
            self.touched.push(token);
        }
        tally.weight += u64::from(weight);
        tally.positions += 1;
        self.events.push((token, position as u32));
    }
}

struct Trainer {
    cells: Vec<Cell>,
    /// Bytes of each token.
    lens: Vec<u32>,
    records: Vec<Record>,
    /// Position lists of all records, one after the other.
    positions: Vec<u32>,
    queue: Queue,
    /// By token: the last merge in which it was the left part, so that pairs (_, token) lost occurrences.
    taken_as_left: Vec<u32>,
    /// By token: the last merge in which it was the right part, so that pairs (token, _) lost occurrences.
    taken_as_right: Vec<u32>,
    lefts: Neighbours,
    rights: Neighbours,
}

/// Learns up to `wanted` merges, fewer when no pair is left. `tick` is called with the number of
/// merges done so far before each one.
pub fn learn_merges<E>(
    corpus: Corpus,
    wanted: usize,
    mut tick: impl FnMut(usize) -> Result<(), E>,
) -> Result<Vec<Pair>, TrainError<E>> {
    if corpus.cells.len() > DEAD as usize {
        return Err(TrainError::TooManyBytes(corpus.cells.len() as u64));
    }
    let mut trainer = Trainer::new(corpus, wanted);
    let mut merges = Vec::with_capacity(wanted);
    while merges.len() < wanted {
        tick(merges.len()).map_err(TrainError::Stopped)?;
        let Some(best) = trainer.pop_best() else {
            break;
        };
        trainer.merge(&best);
        merges.push((best.left, best.right));
    }
    Ok(merges)
}

impl Trainer {
    fn new(corpus: Corpus, wanted: usize) -> Trainer {
        let tokens = BYTES + wanted;
        let neighbours = || Neighbours {
            by_token: vec![Tally::default(); tokens],
            ..Neighbours::default()
        };
        let mut trainer = Trainer {
            cells: corpus.cells,
            lens: vec![1; BYTES],
            records: Vec::new(),
            positions: Vec::new(),
            queue: Queue::new(),
            taken_as_left: vec![0; tokens],
            taken_as_right: vec![0; tokens],
            lefts: neighbours(),
            rights: neighbours(),
        };
        trainer.index_byte_pairs();
        trainer
    }

    /// Builds the records of all pairs of bytes by a counting sort over the cells.
    fn index_byte_pairs(&mut self) {
        let mut weights = vec![0u64; BYTES * BYTES];
        let mut slots = vec![0usize; BYTES * BYTES];
        let pair_at = |cells: &[Cell], at: usize| {
            let (left, right) = (cells[at], cells[at + 1]);
            let inside = left.token != BOUNDARY && right.token != BOUNDARY;
            inside.then_some((
                left.token as usize * BYTES + right.token as usize,
                left.weight,
            ))
        };
        let pairs = self.cells.len() - 1;
        for at in 0..pairs {
            if let Some((pair, weight)) = pair_at(&self.cells, at) {
                weights[pair] += u64::from(weight);
                slots[pair] += 1;
            }
        }
        let mut start = 0;
        for pair in 0..BYTES * BYTES {
            let len = slots[pair];
            slots[pair] = start;
            if len > 0 {
                let parts = ((pair / BYTES) as u32, (pair % BYTES) as u32);
                self.add_record(parts, weights[pair], start, len as u32, 0);
            }
            start += len;
        }
        // Enough for all merges, which write two entries a cell at most. It is only asked for: memory is given
        // as it is written, and where there is not so much the lists grow as any others.
        let _ = self.positions.try_reserve(3 * self.cells.len());
        prefer_large(self.positions.spare_capacity_mut());
        self.positions.resize(start, 0);
        for at in 0..pairs {
            if let Some((pair, _)) = pair_at(&self.cells, at) {
                self.positions[slots[pair]] = at as u32;
                slots[pair] += 1;
            }
        }
    }

    fn add_record(&mut self, (left, right): Pair, count: u64, start: usize, len: u32, step: u32) {
        let record = self.records.len() as u32;
        self.records.push(Record {
            start,
            len,
            counted_at: step,
        });
        self.queue.push(Candidate {
            count,
            left,
            right,
            record,
        });
    }

    /// The pair with the highest exact count, or none when no pair is left.
    fn pop_best(&mut self) -> Option<Candidate> {
        let step = (self.lens.len() - BYTES) as u32;
        loop {
            let mut candidate = self.queue.pop()?;
            let lost_at = self.taken_as_left[candidate.right as usize]
                .max(self.taken_as_right[candidate.left as usize]);
            if self.records[candidate.record as usize].counted_at >= lost_at {
                return Some(candidate);
            }
            candidate.count = self.recount(&candidate);
            self.records[candidate.record as usize].counted_at = step;
            if candidate.count > 0 && self.queue.is_best(&candidate) {
                return Some(candidate);
            }
            self.queue.push(candidate);
        }
    }

    /// Counts a pair from its list, and drops the positions where it no longer occurs.
    fn recount(&mut self, candidate: &Candidate) -> u64 {
        let left_len = self.lens[candidate.left as usize] as usize;
        let record = &mut self.records[candidate.record as usize];
        let list = &mut self.positions[record.start..][..record.len as usize];
        let mut count = 0;
        let mut kept = 0;
        for i in 0..list.len() {
            prefetch(&self.cells, list, i + LOOKAHEAD);
            let position = list[i];
            let at = position as usize;
            let cell = self.cells[at];
            if cell.token == candidate.left && self.cells[at + left_len].token == candidate.right {
                count += u64::from(cell.weight);
                list[kept] = position;
                kept += 1;
            }
        }
        record.len = kept as u32;
        count
    }

    /// Replaces a pair by a new token everywhere and records the pairs that the token forms.
    fn merge(&mut self, best: &Candidate) {
        let token = self.lens.len() as u32;
        let left_len = self.lens[best.left as usize] as usize;
        let right_len = self.lens[best.right as usize] as usize;
        self.lens.push((left_len + right_len) as u32);
        let step = token - BYTES as u32 + 1;
        self.taken_as_left[best.left as usize] = step;
        self.taken_as_right[best.right as usize] = step;

        let record = &self.records[best.record as usize];
        let (start, len) = (record.start, record.len as usize);
        let mut previous = None;
        for i in start..start + len {
            prefetch(&self.cells, &self.positions[..start + len], i + LOOKAHEAD);
            let at = self.positions[i] as usize;
            let second = at + left_len;
            if self.cells[at].token != best.left || self.cells[second].token != best.right {
                continue;
            }
            self.cells[at].token = token;
            // No token starts here any more; the list of another pair may still hold this position.
            self.cells[second].token = DEAD;
            self.cells[second + right_len - 1].token = token;
            // A token's right neighbour is final only once the next position has been merged.
            if let Some(done) = previous.replace(at) {
                self.note_neighbours(done, token);
            }
        }
        if let Some(done) = previous {
            self.note_neighbours(done, token);
        }
        self.record_neighbours(token, step);
    }

    /// Notes the pairs that the new token at `at` forms. Two new tokens side by side form one pair,
    /// noted by the left one; a second record of it would only be recounted to nothing.
    #[inline(always)]
    fn note_neighbours(&mut self, at: usize, token: u32) {
        let weight = self.cells[at].weight;
        let before = self.cells[at - 1].token;
        if before != BOUNDARY && before != token {
            let start = at - self.lens[before as usize] as usize;
            self.lefts.add(before, start, weight);
        }
        let after = self.cells[at + self.lens[token as usize] as usize].token;
        if after != BOUNDARY {
            self.rights.add(after, at, weight);
        }
    }

    /// Turns the noted neighbours into records with position lists.
    fn record_neighbours(&mut self, token: u32, step: u32) {
        let mut lefts = std::mem::take(&mut self.lefts);
        self.record_side(&mut lefts, step, |neighbour| (neighbour, token));
        self.lefts = lefts;
        let mut rights = std::mem::take(&mut self.rights);
        self.record_side(&mut rights, step, |neighbour| (token, neighbour));
        self.rights = rights;
    }

    fn record_side(&mut self, side: &mut Neighbours, step: u32, pair: impl Fn(u32) -> Pair) {
        let mut start = self.positions.len();
        for &neighbour in &side.touched {
            let tally = &mut side.by_token[neighbour as usize];
            tally.next_slot = start;
            self.add_record(pair(neighbour), tally.weight, start, tally.positions, step);
            start += tally.positions as usize;
        }
        self.positions.resize(start, 0);
        for &(neighbour, position) in &side.events {
            let slot = &mut side.by_token[neighbour as usize].next_slot;
            self.positions[*slot] = position;
            *slot += 1;
        }
        for neighbour in side.touched.drain(..) {
            side.by_token[neighbour as usize] = Tally::default();
        }
        side.events.clear();
    }
}

/// Prefetches the cell at list entry `i`; the positions of a list are far apart.
#[inline(always)]
fn prefetch(cells: &[Cell], list: &[u32], i: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(&position) = list.get(i) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let cell = cells.as_ptr().wrapping_add(position as usize);
        // SAFETY: a prefetch is a hint and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(cell.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (cells, list, i);
}
