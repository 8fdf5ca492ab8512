//! Reading a file: tables into sections, and all that is wrong on the way.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::scalar::{found, shortened};
use super::similar::suggestion;
use super::{Item, Section, Span, TableReader};
use crate::policy::error::{PolicyError, Problem};

/// Problems that are reported of one file. Beyond that, one mistake has usually caused many.
const MAX_PROBLEMS: usize = 20;
/// The longest name of a table: it becomes a label of metrics.
const MAX_NAME: usize = 64;

/// What is wrong with a file, by position.
#[derive(Debug)]
pub(in crate::policy) struct Reading<'a> {
    text: &'a str,
    problems: Vec<(usize, String)>,
}

impl<'a> Reading<'a> {
    /// Reads a whole file into its root section.
    pub(in crate::policy) fn read<T: Section>(text: &'a str) -> (T, Self) {
        let mut reading = Self { text, problems: Vec::new() };
        let parsed = DeTable::parse(text);
        let root = match parsed {
            Ok(root) => {
                let span = root.span();
                reading.fields("", &span, root.get_ref())
            }
            Err(error) => {
                let span = error.span().unwrap_or_default();
                let message = error.message().trim().replace('\n', ", ");
                let found = text.get(span.clone()).map(str::trim).filter(|found| !found.is_empty());
                let found = found.map(|found| format!(", found \"{}\"", shortened(found)));
                reading.problem(&span, format!("{message}{}", found.unwrap_or_default()));
                T::default()
            }
        };
        (root, reading)
    }

    pub(in crate::policy) fn problem(&mut self, span: &Span, message: impl Into<String>) {
        self.problems.push((span.start.min(self.text.len()), message.into()));
    }

    pub(in crate::policy) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The file is good, or what is wrong with it, in the order of its lines.
    pub(in crate::policy) fn finish(mut self, file: &str) -> Result<(), PolicyError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort();
        self.problems.dedup();
        let omitted = self.problems.len().saturating_sub(MAX_PROBLEMS);
        self.problems.truncate(MAX_PROBLEMS);
        let problems = self.problems.iter().map(|(at, message)| {
            let (line, column) = position(self.text, *at);
            Problem { line, column, message: message.clone() }
        });
        Err(PolicyError::wrong(file, problems.collect(), omitted))
    }

    /// The table that a value is; `None`, with a problem, if it is something else.
    pub(super) fn table<'b, 'c>(
        &mut self,
        path: &str,
        item: &'b Item<'c>,
    ) -> Option<&'b DeTable<'c>> {
        match item.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let message = format!("{path} must be a table, found {}", found(other));
                self.problem(&item.span(), message);
                None
            }
        }
    }

    /// The section that a value is; `None`, with a problem, if it is no table.
    pub(super) fn section<T: Section>(&mut self, path: &str, item: &Item<'_>) -> Option<T> {
        let table = self.table(path, item)?;
        Some(self.fields(path, &item.span(), table))
    }

    /// Names become labels of metrics and keys of audit events.
    pub(super) fn check_name(&mut self, path: &str, name: &Spanned<Cow<'_, str>>) {
        if let Err(message) = check_name(name.get_ref()) {
            self.problem(&name.span(), format!("{path}: {message}"));
        }
    }

    fn fields<T: Section>(&mut self, path: &str, span: &Span, table: &DeTable<'_>) -> T {
        let mut section = T::default();
        let (known, missing) = (Vec::new(), Vec::new());
        let mut reader = TableReader { path, table, known, missing, reading: self };
        section.fields(&mut reader);
        let TableReader { mut known, missing, .. } = reader;
        let place = if path.is_empty() { String::new() } else { format!(" in {path}") };
        for name in missing {
            self.problem(span, format!("field \"{name}\" is missing{place}"));
        }
        known.sort_unstable();
        for (name, _) in table.iter().filter(|(name, _)| !known.contains(&&**name.get_ref())) {
            let (wrong, allowed) = (shortened(name.get_ref()), known.join(", "));
            let meant = suggestion(name.get_ref(), known.iter().copied());
            let message = format!("unknown field \"{wrong}\"{place}{meant} allowed: {allowed}");
            self.problem(&name.span(), message);
        }
        section
    }
}

/// # Errors
/// What is wrong with the name.
pub(in crate::policy) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_plain) {
        return Ok(());
    }
    let name = shortened(name);
    Err(format!(
        "a name has 1 to {MAX_NAME} letters, digits, \"-\", \"_\" or \".\", found \"{name}\""
    ))
}

/// Line and column of a byte, from 1; the column counts characters.
pub(in crate::policy) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    // Of a character of several bytes, the first one counts.
    let characters = before[start..].iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
    (line, characters + 1)
}
