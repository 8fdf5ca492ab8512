//! Values that are one of a few words.

use toml::de::DeValue;

use super::json::Json;
use super::scalar::{Scalar, found, mismatch};
use super::similar::suggestion;

/// One of a few words.
pub(in crate::policy) trait Choice: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// A [`Choice`] in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Word<T>(pub(in crate::policy) T);

impl<T: Choice> Word<T> {
    pub(in crate::policy) fn word(&self) -> &'static str {
        let mut words = T::WORDS.iter();
        words.find(|(_, value)| *value == self.0).map_or("", |(word, _)| word)
    }
}

fn quoted(words: impl Iterator<Item = &'static str>) -> String {
    let words: Vec<_> = words.map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.concat(),
    }
}

impl<T: Choice> Scalar for Word<T> {
    fn expected() -> String {
        quoted(T::WORDS.iter().map(|(word, _)| *word))
    }

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(value).ok_or_else(|| match value.as_str() {
            Some(wrong) => {
                let meant = suggestion(wrong, T::WORDS.iter().map(|(word, _)| *word));
                let meant = meant.trim_end_matches(';');
                format!("must be {}, found {}{meant}", Self::expected(), found(value))
            }
            None => mismatch(&Self::expected(), value),
        })
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| Self(*value))
    }

    fn schema() -> Json {
        let words = T::WORDS.iter().map(|(word, _)| Json::text(*word));
        Json::object([("enum", Json::Array(words.collect()))])
    }

    fn show(&self) -> String {
        format!("\"{}\"", self.word())
    }
}

/// A word, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) enum WordOr<T, N> {
    Word(T),
    Number(N),
}

impl<T: Choice, N: Scalar> Scalar for WordOr<T, N> {
    fn expected() -> String {
        format!("{} or {}", Word::<T>::expected(), N::expected())
    }

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        if let Some(number) = N::parse(value) {
            return Ok(Self::Number(number));
        }
        match Word::read(value) {
            Ok(Word(word)) => Ok(Self::Word(word)),
            Err(error) if value.as_str().is_some() => {
                Err(error.replacen(", found", &format!(" or {}, found", N::expected()), 1))
            }
            Err(_) => Err(mismatch(&Self::expected(), value)),
        }
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        Self::read(value).ok()
    }

    fn schema() -> Json {
        Json::object([("anyOf", Json::Array(vec![Word::<T>::schema(), N::schema()]))])
    }

    fn show(&self) -> String {
        match self {
            Self::Word(word) => Word(*word).show(),
            Self::Number(number) => number.show(),
        }
    }
}
