//! Words by record, and records by word: what texts are found by.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;

use prost::encoding::{decode_varint, encode_varint};
use roaring::RoaringBitmap;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::column::Serial;
use super::holders::Holders;

/// More different words of a record are not kept.
const WORDS: usize = 2_000;
/// Longer words are kept, and looked for, by their beginning.
const LONGEST: usize = 64;

// What a word of a query adds to the score.
const IS_IN_NAME: u32 = 8;
const BEGINS_IN_NAME: u32 = 4;
const IS_IN_TEXT: u32 = 2;
const BEGINS_IN_TEXT: u32 = 1;

/// The texts that a resource is found by.
#[derive(Debug, Default)]
pub(crate) struct Spoken<'a> {
    pub(crate) names: Vec<&'a str>,
    pub(crate) texts: Vec<&'a str>,
}

/// The words of records.
#[derive(Debug, Default)]
pub(super) struct Words {
    known: BTreeMap<Box<str>, u32>,
    /// By the number of a word.
    places: Vec<Places>,
    of: Vec<Of>,
    bytes: usize,
}

/// What is known of a record: most changes leave its texts as they are.
#[derive(Debug, Default)]
struct Of {
    /// Of the texts.
    hash: u64,
    /// The numbers of its words in order, each as what it is more than the one before, in base 128.
    words: Box<[u8]>,
}

/// The records that have a word.
#[derive(Debug, Default)]
struct Places {
    in_name: Holders,
    in_text: Holders,
}

/// A text in which what looks the same is the same (NFKC), however its letters were put together.
fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.nfkc().collect()) }
}

/// The words of a text in its normal form.
fn parts_of(text: &str) -> impl Iterator<Item = &str> {
    let is_of_word = |character: char| character.is_alphanumeric() || is_combining_mark(character);
    text.split(move |character| !is_of_word(character)).filter(|word| !word.is_empty())
}

/// A word as it is kept.
fn write_word(part: &str, word: &mut String) {
    word.clear();
    if part.is_ascii() {
        word.extend(part.chars().take(LONGEST).map(|letter| letter.to_ascii_lowercase()));
        return;
    }
    // Case folding: letters that are the same in upper case are the same, as ß and SS, or σ and ς; ẞ has ß as its lower case.
    let folded = part.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    // What was one character may have become a letter and its mark.
    word.extend(folded.nfkc().take(LONGEST));
}

/// The words of a text, as they are kept.
fn words_of(text: &str) -> Vec<String> {
    let word = |part| {
        let mut word = String::new();
        write_word(part, &mut word);
        word
    };
    parts_of(&normal(text)).map(word).collect()
}

impl Words {
    /// The words of a record, which replace those that it had.
    pub(super) fn set(&mut self, serial: Serial, spoken: &Spoken<'_>) {
        let mut hasher = DefaultHasher::new();
        (&spoken.names, &spoken.texts).hash(&mut hasher);
        let hash = hasher.finish();
        if self.of.get(serial as usize).is_some_and(|of| of.hash == hash) {
            return;
        }
        self.remove(serial);
        let (in_name, in_text) = (self.numbers(&spoken.names), self.numbers(&spoken.texts));
        for number in &in_name {
            self.places[*number as usize].in_name.insert(serial);
        }
        for number in &in_text {
            self.places[*number as usize].in_text.insert(serial);
        }
        if self.of.len() <= serial as usize {
            self.of.resize_with(serial as usize + 1, Of::default);
        }
        let words = packed(&in_name | &in_text);
        self.bytes += words.len();
        self.of[serial as usize] = Of { hash, words };
    }

    pub(super) fn remove(&mut self, serial: Serial) {
        let of = self.of.get_mut(serial as usize).map(std::mem::take).unwrap_or_default();
        self.bytes -= of.words.len();
        for number in unpacked(&of.words) {
            let places = &mut self.places[number as usize];
            places.in_name.remove(serial);
            places.in_text.remove(serial);
        }
    }

    /// The numbers of the words of some texts.
    fn numbers(&mut self, texts: &[&str]) -> BTreeSet<u32> {
        let mut numbers = BTreeSet::new();
        let mut word = String::new();
        for text in texts {
            for part in parts_of(&normal(text)) {
                if numbers.len() == WORDS {
                    return numbers;
                }
                write_word(part, &mut word);
                numbers.insert(self.number(&word));
            }
        }
        numbers
    }

    fn number(&mut self, word: &str) -> u32 {
        if let Some(number) = self.known.get(word) {
            return *number;
        }
        let number = self.places.len() as u32;
        self.bytes += word.len();
        self.known.insert(word.into(), number);
        self.places.push(Places::default());
        number
    }

    /// The records that have all words of a query.
    pub(super) fn find(&self, query: &str) -> Matches {
        let wanted: BTreeSet<_> = words_of(query).into_iter().collect();
        Matches { of: wanted.iter().map(|word| self.matching(word)).collect() }
    }

    fn matching(&self, word: &str) -> Match {
        let mut found = Match::default();
        let from = self.known.range::<str, _>((Bound::Included(word), Bound::Unbounded));
        for (known, number) in from.take_while(|(known, _)| known.starts_with(word)) {
            let places = &self.places[*number as usize];
            let (in_name, in_text) = match &**known == word {
                true => (&mut found.is_in_name, &mut found.is_in_text),
                false => (&mut found.begins_in_name, &mut found.begins_in_text),
            };
            places.in_name.add_to(in_name);
            places.in_text.add_to(in_text);
        }
        found
    }

    /// The memory that it takes, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        const ENTRY: usize = 2 * size_of::<(Box<str>, u32)>() + size_of::<Places>();
        let holders = |places: &Places| places.in_name.bytes() + places.in_text.bytes();
        self.bytes
            + self.known.len() * ENTRY
            + self.of.len() * size_of::<Of>()
            + self.places.iter().map(holders).sum::<usize>()
    }
}

/// Numbers in order, packed.
fn packed(numbers: BTreeSet<u32>) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(2 * numbers.len());
    let mut before = 0;
    for number in numbers {
        encode_varint(u64::from(number - before), &mut bytes);
        before = number;
    }
    bytes.into()
}

fn unpacked(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    let mut before = 0;
    std::iter::from_fn(move || {
        let more = if bytes.is_empty() { None } else { decode_varint(&mut bytes).ok() };
        before += u32::try_from(more?).ok()?;
        Some(before)
    })
}

/// Who has the words of a query.
#[derive(Debug)]
pub(super) struct Matches {
    of: Vec<Match>,
}

#[derive(Debug, Default)]
struct Match {
    is_in_name: RoaringBitmap,
    begins_in_name: RoaringBitmap,
    is_in_text: RoaringBitmap,
    begins_in_text: RoaringBitmap,
}

impl Match {
    fn all(&self) -> RoaringBitmap {
        &self.is_in_name | &self.begins_in_name | &self.is_in_text | &self.begins_in_text
    }

    fn score(&self, serial: Serial) -> u32 {
        let classes = [
            (&self.is_in_name, IS_IN_NAME),
            (&self.begins_in_name, BEGINS_IN_NAME),
            (&self.is_in_text, IS_IN_TEXT),
            (&self.begins_in_text, BEGINS_IN_TEXT),
        ];
        classes.iter().find(|(class, _)| class.contains(serial)).map_or(0, |(_, score)| *score)
    }
}

impl Matches {
    /// Those of a set that have all of the words. None if there are no words.
    pub(super) fn among(&self, mut records: RoaringBitmap) -> RoaringBitmap {
        if self.of.is_empty() {
            return RoaringBitmap::new();
        }
        for word in &self.of {
            records &= word.all();
        }
        records
    }

    /// How well a record fits.
    pub(super) fn score(&self, serial: Serial) -> u32 {
        self.of.iter().map(|word| word.score(serial)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_letters_and_digits_make() {
        let words = words_of;
        assert_eq!(words("FX-rates_v2 (Über, 1.5)!"), ["fx", "rates", "v2", "über", "1", "5"]);
        assert_eq!(words(" -- "), Vec::<String>::new());
        assert_eq!(words(&"x".repeat(100))[0].len(), LONGEST);
    }

    #[test]
    fn words_that_read_the_same_are_the_same() {
        for (one, other) in [
            ("Straße", "STRASSE"),
            // What has no upper or lower case of one character.
            ("\u{130}stanbul", "i\u{307}stanbul"),
            ("\u{1f0}ump", "J\u{30c}UMP"),
            ("\u{390}x", "\u{399}\u{308}\u{301}X"),
            ("STRA\u{1e9e}E", "strasse"),
            ("Caf\u{e9}", "cafe\u{301}"),
            ("\u{3a3}\u{39f}\u{3a6}\u{39f}\u{3a3}", "σοφος"),
            ("σοφός", "ΣΟΦΌΣ"),
            ("\u{fb01}nal", "FINAL"),
            ("ＡＢＣ１", "abc1"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
        ] {
            assert_eq!(words_of(one), words_of(other), "{one} {other}");
            assert_eq!(words_of(one).len(), 1, "{one}");
        }
        // Accents are letters of their own.
        assert_ne!(words_of("resum\u{e9}"), words_of("resume"));
    }

    #[test]
    fn whoever_has_all_words_is_found_and_the_name_counts_most() {
        let mut words = Words::default();
        words.set(0, &Spoken { names: vec!["fraud-cards"], texts: vec!["scores card payments"] });
        words.set(1, &Spoken { names: vec!["churn"], texts: vec!["not fraud", "cards"] });
        words.set(2, &Spoken { names: vec!["fraudulent"], texts: vec!["card"] });
        words.set(3, &Spoken { names: vec!["other"], texts: vec!["frauds"] });
        let scores = |words: &Words, query: &str| {
            let found = words.find(query);
            let all = found.among((0..4).collect());
            all.iter().map(|serial| (serial, found.score(serial))).collect::<Vec<_>>()
        };
        assert_eq!(scores(&words, "Fraud"), [(0, 8), (1, 2), (2, 4), (3, 1)]);
        assert_eq!(scores(&words, "fraud card"), [(0, 12), (1, 3), (2, 6)]);
        assert_eq!(scores(&words, "cards fraud cards"), [(0, 16), (1, 4)]);
        assert_eq!(scores(&words, "zebra fraud"), []);
        assert_eq!(scores(&words, "--"), []);
        words.set(1, &Spoken { names: vec!["churn"], texts: vec!["nothing"] });
        words.remove(2);
        assert_eq!(scores(&words, "fraud"), [(0, 8), (3, 1)]);
        assert!(words.find("").among((0..4).collect()).is_empty());
    }
}
