//! Words: how text is cut for search, the same for the index, the filter and the query.
//!
//! A word is a run of letters, digits and `_`, in lower case. It does not stem and does not fold accents.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// A longer word counts by its first bytes: nobody types more, and the index's terms stay small.
pub(super) const WORD_BYTES_MAX: usize = 128;

/// Finds the next word of `text` at or after `from`, writes it to `word` and answers its byte range.
pub(super) fn next_word(text: &str, from: usize, word: &mut String) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    let begin = from + rest.find(is_word)?;
    word.clear();
    let mut end = begin;
    let mut cut = false;
    for c in text.get(begin..)?.chars().take_while(|&c| is_word(c)) {
        end += c.len_utf8();
        for lower in c.to_lowercase() {
            cut |= word.len() + lower.len_utf8() > WORD_BYTES_MAX;
            if !cut {
                word.push(lower);
            }
        }
    }
    Some((begin, end))
}

/// All words of `text`.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut found, mut word, mut at) = (Vec::new(), String::new(), 0);
    while let Some((_, end)) = next_word(text, at, &mut word) {
        found.push(word.clone());
        at = end;
    }
    found
}

/// Whether a character belongs to a word.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// [`words`] as the index asks for them.
#[derive(Clone)]
pub(super) struct Words;

/// The words of one text.
pub(super) struct Stream<'a> {
    text: &'a str,
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = Stream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        Stream { text, token: Token::default() }
    }
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        let Some((from, to)) = next_word(self.text, self.token.offset_to, &mut self.token.text) else {
            return false;
        };
        self.token.position = self.token.position.wrapping_add(1);
        (self.token.offset_from, self.token.offset_to) = (from, to);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_runs_of_letters_and_digits() {
        assert_eq!(words("Temp=21.5 Sensor-17, user_ID"), ["temp", "21", "5", "sensor", "17", "user_id"]);
        assert_eq!(words("ÜBER größe\u{0}λ"), ["über", "größe", "λ"]);
        assert!(words(" --- ").is_empty());
        assert_eq!(words(&"ä".repeat(1000)), ["ä".repeat(WORD_BYTES_MAX / 2)]);
    }
}
