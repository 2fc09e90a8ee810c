//! Encoding: from pieces to token ids.

use std::convert::Infallible;

use hashbrown::HashMap;

use crate::cache::PieceCache;
use crate::count::hash_key;
use crate::cuts::Cuts;
use crate::merge::{SHORT, merge_long, merge_short};
use crate::pairs::{NO_TOKEN, PairRanks};
use crate::sink::{Count, FEW, Room, Sink};
use crate::split::{KEY_BYTES, Piece, Splitter, short_key};
use crate::train::Pair;
use crate::vocab::Vocab;

/// A long text is encoded in parts of about so many bytes, whose ids stay in the processor's caches until
/// they are in their place.
const PART: usize = 32 << 10;

/// How many ids to make room for at first, for a text of so many bytes.
pub fn ids_at_first(bytes: usize) -> usize {
    // A short text is written into room for one id a byte, a long one part by part.
    Room::places(if bytes <= PART {
        bytes
    } else {
        bytes / 3 + PART
    })
}

/// Pieces are looked up so many places behind where the text is split: meanwhile their line of the cache
/// comes from memory, and what the splitter mispredicts does not wait for it.
const AHEAD: usize = 16;

/// Stands for the key of a piece that has none.
const LONG: u128 = 0;

/// A bit of the key that no length has: see [`Encoder::part_mark`].
const PART_MARK: u128 = 1 << 127;

/// Pieces that are a single token.
struct WholePieces {
    slots: Box<[(u128, u32)]>,
    long: HashMap<Box<[u8]>, u32>,
}

impl WholePieces {
    fn new(capacity: usize) -> WholePieces {
        WholePieces {
            slots: vec![(0, NO_TOKEN); (capacity * 2).next_power_of_two()].into(),
            long: HashMap::new(),
        }
    }

    #[inline(always)]
    fn find(&self, key: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash_key(key) as usize & mask;
        while self.slots[at].0 != key && self.slots[at].0 != 0 {
            at = (at + 1) & mask;
        }
        at
    }

    fn insert(&mut self, piece: &[u8], token: u32) {
        match short_key(piece) {
            Some(key) => {
                let at = self.find(key);
                self.slots[at] = (key, token);
            }
            None => {
                self.long.insert(piece.into(), token);
            }
        }
    }

    #[inline(always)]
    fn short(&self, key: u128) -> u32 {
        self.slots[self.find(key)].1
    }

    fn long(&self, piece: &[u8]) -> u32 {
        self.long.get(piece).copied().unwrap_or(NO_TOKEN)
    }
}

/// Everything that encoding a text needs.
pub struct Encoder {
    byte_ids: [u32; 256],
    pairs: PairRanks,
    whole: WholePieces,
    cuts: Cuts,
    /// Added to the keys of parts of pieces. 0, so that they are found as pieces are; but [`PART_MARK`] where
    /// some tokens are found as whole pieces only, which a part is not.
    part_mark: u128,
}

impl Encoder {
    /// An encoder that applies exactly these merges, earliest first.
    pub fn from_merges(merges: &[Pair], vocab: &Vocab) -> Encoder {
        let mut encoder = Encoder {
            byte_ids: std::array::from_fn(|byte| byte as u32),
            pairs: PairRanks::with_room(merges.len()),
            whole: WholePieces::new(vocab.len()),
            cuts: Cuts::new(vocab),
            part_mark: 0,
        };
        for (&pair, token) in merges.iter().zip(256..) {
            encoder.add_pair(pair, token, vocab);
        }
        let mut ids = Vec::new();
        for (token, bytes) in (0..).zip(vocab.iter()) {
            encoder.merge_piece(bytes, &mut ids);
            // True of every learned token; if it were not, the piece would be merged like any other.
            if ids == [token] {
                encoder.whole.insert(bytes, token);
            }
        }
        encoder
    }

    /// An encoder with the semantics of tiktoken for the same ranks: two neighbours merge whenever
    /// their joined bytes are a token, the lowest id first, and a piece that is a token stays whole.
    ///
    /// Only one pair makes a token: while no merge crosses the ends of its bytes, those inside happen in
    /// the order that they have in these bytes alone, which comes down to one last pair. Found for the
    /// shortest tokens first, since it is made of shorter ones. A token whose bytes alone are stuck before
    /// that is made of no pair.
    ///
    /// The error is a byte that is not a token.
    pub fn from_ranks(vocab: &Vocab) -> Result<Encoder, u8> {
        let mut whole = WholePieces::new(vocab.len());
        let mut byte_ids = [NO_TOKEN; 256];
        let mut tokens: Vec<(u32, &[u8])> = (0..).zip(vocab.iter()).collect();
        for &(token, bytes) in &tokens {
            whole.insert(bytes, token);
            if let [byte] = bytes {
                byte_ids[*byte as usize] = token;
            }
        }
        if let Some(byte) = byte_ids.iter().position(|&id| id == NO_TOKEN) {
            return Err(byte as u8);
        }
        let mut encoder = Encoder {
            byte_ids,
            pairs: PairRanks::with_room(vocab.len()),
            whole,
            cuts: Cuts::new(vocab),
            part_mark: 0,
        };
        tokens.sort_by_key(|(_, bytes)| bytes.len());
        let mut ids = Vec::new();
        for (token, bytes) in tokens {
            encoder.merge_piece(bytes, &mut ids);
            match ids[..] {
                [left, right] => encoder.add_pair((left, right), token, vocab),
                [_] => {}
                _ => encoder.part_mark = PART_MARK,
            }
        }
        Ok(encoder)
    }

    fn add_pair(&mut self, pair: Pair, token: u32, vocab: &Vocab) {
        self.pairs.insert(pair, token);
        if let (Some(&[first]), Some(&[second])) = (vocab.get(pair.0), vocab.get(pair.1)) {
            self.pairs.insert_bytes(first, second, token);
        }
    }

    /// Appends the ids of `text`. `cache` must not have been used with another encoder. Fails as
    /// [`Splitter::for_each_piece`] does.
    pub fn encode(
        &self,
        splitter: &Splitter,
        text: &str,
        cache: &mut PieceCache,
        ids: &mut Vec<u32>,
    ) -> Result<(), String> {
        for part in splitter.parts(text, PART) {
            Room::at_end(ids, part.len(), |room| {
                self.give(splitter, part, cache, room)
            })?;
        }
        Ok(())
    }

    /// The number of ids of `text`; the rest is as in [`Encoder::encode`].
    pub fn count(
        &self,
        splitter: &Splitter,
        text: &str,
        cache: &mut PieceCache,
    ) -> Result<usize, String> {
        let mut count = Count::default();
        self.give(splitter, text, cache, &mut count)?;
        Ok(count.taken())
    }

    /// Calls `take` with each piece's first byte in `text` and its ids; the rest is as in [`Encoder::encode`].
    pub fn encode_pieces(
        &self,
        splitter: &Splitter,
        text: &str,
        cache: &mut PieceCache,
        mut take: impl FnMut(usize, &[u32]),
    ) -> Result<(), String> {
        let mut ids = Vec::new();
        splitter.for_each_piece(text, |piece| {
            ids.clear();
            let key = piece.short_key().unwrap_or(LONG);
            let done = Room::at_end(&mut ids, piece.bytes().len(), |room| {
                self.encode_piece(piece, key, cache, room);
                Ok::<(), Infallible>(())
            });
            let Ok(()) = done;
            take(piece.start(), &ids);
        })
    }

    fn give(
        &self,
        splitter: &Splitter,
        text: &str,
        cache: &mut PieceCache,
        sink: &mut impl Sink,
    ) -> Result<(), String> {
        let mut waiting = [(Piece::whole(""), 0); AHEAD];
        let mut pieces = 0;
        splitter.for_each_piece(text, |piece| {
            let key = piece.short_key().unwrap_or(LONG);
            cache.prefetch(key);
            let (piece, key) = std::mem::replace(&mut waiting[pieces % AHEAD], (piece, key));
            pieces += 1;
            if pieces > AHEAD {
                self.encode_piece(piece, key, cache, sink);
            }
        })?;
        for index in pieces.saturating_sub(AHEAD)..pieces {
            let (piece, key) = waiting[index % AHEAD];
            self.encode_piece(piece, key, cache, sink);
        }
        Ok(())
    }

    #[inline(always)]
    fn encode_piece(
        &self,
        piece: Piece<'_>,
        key: u128,
        cache: &mut PieceCache,
        sink: &mut impl Sink,
    ) {
        if key == LONG {
            self.encode_long(piece.bytes(), cache, sink);
        } else if !cache.give(key, sink) {
            self.encode_short(piece.bytes(), key, cache, sink);
        }
    }

    /// A piece with a key that is not in the cache's lines.
    #[inline(never)]
    fn encode_short(&self, piece: &[u8], key: u128, cache: &mut PieceCache, sink: &mut impl Sink) {
        let token = self.whole.short(key);
        if token != NO_TOKEN {
            cache.insert(key, &[token]);
            sink.few([token; FEW], 1);
        } else if !cache.give_wide(key, sink) {
            let mut ids = [0; KEY_BYTES];
            self.begin(piece, &mut ids);
            let kept = merge_short::<{ KEY_BYTES + 1 }>(&self.pairs, piece, &mut ids);
            cache.insert(key, &ids[..kept]);
            sink.many(&ids[..kept]);
        }
    }

    #[inline(never)]
    fn encode_long(&self, piece: &[u8], cache: &mut PieceCache, sink: &mut impl Sink) {
        if cache.give_long(piece, sink) {
            return;
        }
        let token = self.whole.long(piece);
        if token != NO_TOKEN {
            cache.insert_long(piece, &[token]);
            sink.few([token; FEW], 1);
            return;
        }
        for part in self.cuts.parts(piece) {
            match short_key(part).map(|key| key | self.part_mark) {
                Some(key) if cache.give(key, sink) => {}
                Some(key) => self.encode_short(part, key, cache, sink),
                None => {
                    let mut ids = std::mem::take(&mut cache.merging);
                    self.merge_piece(part, &mut ids);
                    sink.many(&ids);
                    if part.len() == piece.len() {
                        cache.insert_long(piece, &ids);
                    }
                    if part.len() <= PART {
                        cache.merging = ids;
                    }
                }
            }
        }
    }

    /// Sets `ids` to those of a piece, found by merging.
    fn merge_piece(&self, piece: &[u8], ids: &mut Vec<u32>) {
        ids.clear();
        ids.resize(piece.len(), 0);
        self.begin(piece, ids);
        let kept = match piece.len() {
            0 => 0,
            1..=SHORT => merge_short::<SHORT>(&self.pairs, piece, ids),
            _ => merge_long(&self.pairs, ids),
        };
        ids.truncate(kept);
    }

    /// The tokens of the single bytes.
    fn begin(&self, piece: &[u8], ids: &mut [u32]) {
        for (id, &byte) in ids.iter_mut().zip(piece) {
            *id = self.byte_ids[byte as usize];
        }
    }
}
