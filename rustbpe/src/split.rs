//! Pre-tokenization: cutting a text into the pieces that merges never cross.

use fancy_regex::Regex;

use crate::gpt4::Family;
use crate::unicode::Classes;

/// A compiled split pattern.
#[derive(Clone, Debug)]
pub enum Splitter {
    Gpt4(Family),
    Regex(Box<Regex>),
}

impl Splitter {
    /// Compiles `pattern`; the error is the regular-expression parser's own message.
    pub fn new(pattern: &str) -> Result<Splitter, String> {
        if let Some(family) = Family::of_pattern(pattern) {
            return Ok(Splitter::Gpt4(family));
        }
        Splitter::regex(pattern)
    }

    /// Compiles `pattern` for the general engine, whatever it spells.
    pub fn regex(pattern: &str) -> Result<Splitter, String> {
        Regex::new(pattern)
            .map(|regex| Splitter::Regex(Box::new(regex)))
            .map_err(|error| error.to_string())
    }

    /// Gives every piece in order to `take`. Text that a general pattern does not match is in no
    /// piece; the GPT-4 family matches everything.
    ///
    /// Fails when the engine gives up on the text (its backtracking limit).
    #[inline]
    pub fn for_each_piece<'t>(
        &self,
        text: &'t str,
        mut take: impl FnMut(&'t str),
    ) -> Result<(), String> {
        match self {
            Splitter::Gpt4(family) => {
                let classes = Classes::get();
                let mut start = 0;
                while start < text.len() {
                    let end = family.piece_end(classes, text, start);
                    take(&text[start..end]);
                    start = end;
                }
            }
            Splitter::Regex(regex) => {
                for found in regex.find_iter(text) {
                    take(found.map_err(|error| error.to_string())?.as_str());
                }
            }
        }
        Ok(())
    }
}
