//! The bytes of every token.

use crate::train::Pair;

/// Token bytes by id.
#[derive(Clone, Debug)]
pub struct Vocab {
    bytes: Vec<u8>,
    /// Token i is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<usize>,
}

impl Vocab {
    /// The 256 bytes, then one token a merge.
    pub fn from_merges(merges: &[Pair]) -> Vocab {
        let mut vocab = Vocab {
            bytes: (0..=u8::MAX).collect(),
            ends: (1..=256).collect(),
        };
        for &(left, right) in merges {
            for part in [left, right] {
                let (start, end) = vocab.range(part as usize);
                vocab.bytes.extend_from_within(start..end);
            }
            vocab.ends.push(vocab.bytes.len());
        }
        vocab
    }

    /// Tokens in the order of their ids.
    pub fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Vocab {
        let mut vocab = Vocab {
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        for token in tokens {
            vocab.bytes.extend_from_slice(token);
            vocab.ends.push(vocab.bytes.len());
        }
        vocab
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn range(&self, id: usize) -> (usize, usize) {
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        (start, self.ends[id])
    }

    /// The bytes of token `id`, if there is one.
    pub fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        (id < self.len()).then(|| {
            let (start, end) = self.range(id);
            &self.bytes[start..end]
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len() as u32).filter_map(|id| self.get(id))
    }

    /// The bytes that `ids` spell; the error is the first unknown id.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, u32> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            bytes.extend_from_slice(self.get(id).ok_or(id)?);
        }
        Ok(bytes)
    }
}
