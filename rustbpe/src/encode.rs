//! Encoding: from pieces to token ids.

use hashbrown::HashMap;

use crate::cache::PieceCache;
use crate::count::hash_key;
use crate::merge::{merge_long, merge_short};
use crate::pairs::{NO_TOKEN, PairRanks};
use crate::split::{Piece, Splitter, short_key};
use crate::train::Pair;
use crate::vocab::Vocab;

/// Up to this many bytes a piece is merged by scanning for the lowest rank, above it with a heap.
const SHORT: usize = 64;

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
}

impl Encoder {
    /// An encoder that applies exactly these merges, earliest first.
    pub fn from_merges(merges: &[Pair], vocab: &Vocab) -> Encoder {
        let tokens = 256..;
        let pairs: Vec<_> = merges.iter().copied().zip(tokens).collect();
        let mut encoder = Encoder {
            byte_ids: std::array::from_fn(|byte| byte as u32),
            pairs: PairRanks::new(&pairs),
            whole: WholePieces::new(vocab.len()),
        };
        let mut ids = Vec::new();
        for (token, bytes) in (0..).zip(vocab.iter()) {
            ids.clear();
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
    /// The error is a byte that is not a token.
    pub fn from_ranks(vocab: &Vocab) -> Result<Encoder, u8> {
        let ids: HashMap<&[u8], u32> = vocab.iter().zip(0..).collect();
        let mut byte_ids = [0; 256];
        for byte in 0..=u8::MAX {
            byte_ids[byte as usize] = *ids.get([byte].as_slice()).ok_or(byte)?;
        }
        let mut pairs = Vec::new();
        let mut whole = WholePieces::new(vocab.len());
        for (token, bytes) in (0..).zip(vocab.iter()) {
            whole.insert(bytes, token);
            for cut in 1..bytes.len() {
                let (left, right) = bytes.split_at(cut);
                if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                    pairs.push(((left, right), token));
                }
            }
        }
        Ok(Encoder {
            byte_ids,
            pairs: PairRanks::new(&pairs),
            whole,
        })
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
        splitter.for_each_piece(text, |piece| self.encode_piece(piece, cache, ids))
    }

    #[inline(always)]
    fn encode_piece(&self, piece: Piece<'_>, cache: &mut PieceCache, ids: &mut Vec<u32>) {
        let Some(key) = piece.short_key() else {
            match self.whole.long(piece.bytes()) {
                NO_TOKEN => self.merge_piece(piece.bytes(), ids),
                token => ids.push(token),
            }
            return;
        };
        match self.whole.short(key) {
            NO_TOKEN if cache.append(key, ids) => {}
            NO_TOKEN => {
                let start = ids.len();
                self.merge_piece(piece.bytes(), ids);
                cache.insert(key, &ids[start..]);
            }
            token => ids.push(token),
        }
    }

    fn merge_piece(&self, piece: &[u8], ids: &mut Vec<u32>) {
        let start = ids.len();
        ids.extend(piece.iter().map(|&byte| self.byte_ids[byte as usize]));
        let kept = if piece.len() <= SHORT {
            merge_short::<SHORT>(&self.pairs, &mut ids[start..])
        } else {
            merge_long(&self.pairs, &mut ids[start..])
        };
        ids.truncate(start + kept);
    }
}
