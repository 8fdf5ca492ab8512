//! The description of the file's format: each section names its fields once, for reading, comparing and documenting.
//!
//! It knows TOML, and nothing of layers.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) mod amounts;
pub(super) mod choice;
pub(super) mod json;
pub(super) mod reading;
pub(super) mod scalar;
pub(super) mod similar;
mod visits;

use self::json::Json;
use self::reading::Reading;
use self::scalar::Scalar;
use self::visits::joined;
pub(super) use self::visits::{document_section, list_section, section_schema};

/// A value as it stands in the file.
pub(super) type Item<'a> = Spanned<DeValue<'a>>;
/// Bytes of the file.
pub(super) type Span = Range<usize>;

/// A table with fields that are known.
pub(super) trait Section: Default {
    /// Names each field.
    fn fields(&mut self, to: &mut dyn Fields);
}

/// What happens to each field of a section.
pub(super) trait Fields {
    fn field(&mut self, name: &'static str, about: &'static str, value: &mut dyn Value);
}

/// What a field may hold.
pub(super) trait Value {
    /// Reads it from the file. `path` names it in messages.
    fn read(&mut self, path: &str, item: &Item<'_>, reading: &mut Reading<'_>);
    /// Its JSON schema.
    fn schema(&self) -> Json;
    /// Adds what is set, by path, as it would be written.
    fn list(&mut self, path: &str, to: &mut BTreeMap<String, String>);
    /// Adds itself and what is inside to a table of all fields.
    fn document(&self, path: &str, about: &'static str, to: &mut Vec<(String, String, String)>);
    /// Whether a file without it is wrong.
    fn is_required(&self) -> bool {
        false
    }
}

/// A single value, which may be absent.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: Option<T>,
    pub(super) span: Span,
    is_required: bool,
}

/// A table, which may be absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Table<T> {
    pub(super) value: Option<T>,
    pub(super) span: Span,
}

/// Tables by name.
#[derive(Clone, Debug)]
pub(super) struct Named<T>(pub(super) Vec<Entry<T>>);

/// One of several tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry<T> {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) value: T,
}

/// Tables in an order.
#[derive(Clone, Debug)]
pub(super) struct Listed<T>(pub(super) Vec<Entry<T>>);

impl<T> Default for Setting<T> {
    fn default() -> Self {
        Self { value: None, span: 0..0, is_required: false }
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Setting<T> {
    pub(super) fn required() -> Self {
        Self { is_required: true, ..Self::default() }
    }
}

impl<T: Scalar> Setting<T> {
    pub(super) fn get(&self) -> Option<T> {
        self.value.clone()
    }

    /// Whether the value has this effect on a builder, by the builder's own rules.
    pub(super) fn check<E: std::fmt::Display>(
        &self,
        path: &str,
        reading: &mut Reading<'_>,
        rule: impl FnOnce(T) -> Result<(), E>,
    ) {
        let Some(value) = self.get() else { return };
        let shown = value.show();
        if let Err(error) = rule(value) {
            reading.problem(&self.span, format!("{path}: {error}, found {shown}"));
        }
    }
}

impl<T> Named<T> {
    pub(super) fn get(&self, name: &str) -> Option<&Entry<T>> {
        self.0.iter().find(|entry| entry.name == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| &*entry.name)
    }
}

impl<T: Scalar> Value for Setting<T> {
    fn read(&mut self, path: &str, item: &Item<'_>, reading: &mut Reading<'_>) {
        self.span = item.span();
        match T::read(item.get_ref()) {
            Ok(value) => self.value = Some(value),
            Err(error) => reading.problem(&self.span, format!("{path} {error}")),
        }
    }

    fn schema(&self) -> Json {
        T::schema()
    }

    fn list(&mut self, path: &str, to: &mut BTreeMap<String, String>) {
        if let Some(value) = &self.value {
            to.insert(path.to_owned(), value.show());
        }
    }

    fn document(&self, path: &str, about: &'static str, to: &mut Vec<(String, String, String)>) {
        to.push((path.to_owned(), T::expected(), about.to_owned()));
    }

    fn is_required(&self) -> bool {
        self.is_required
    }
}

impl<T: Section> Value for Table<T> {
    fn read(&mut self, path: &str, item: &Item<'_>, reading: &mut Reading<'_>) {
        self.span = item.span();
        self.value = reading.section(path, item);
    }

    fn schema(&self) -> Json {
        section_schema::<T>()
    }

    fn list(&mut self, path: &str, to: &mut BTreeMap<String, String>) {
        if let Some(value) = &mut self.value {
            to.insert(path.to_owned(), "{}".to_owned());
            list_section(value, path, to);
        }
    }

    fn document(&self, path: &str, about: &'static str, to: &mut Vec<(String, String, String)>) {
        to.push((path.to_owned(), "a table".to_owned(), about.to_owned()));
        document_section::<T>(path, to);
    }
}

impl<T: Section> Value for Named<T> {
    fn read(&mut self, path: &str, item: &Item<'_>, reading: &mut Reading<'_>) {
        let Some(table) = reading.table(path, item) else { return };
        for (name, item) in table {
            reading.check_name(path, name);
            let path = format!("{path}.{}", name.get_ref());
            let Some(value) = reading.section(&path, item) else { continue };
            let name = name.get_ref().clone().into_owned();
            self.0.push(Entry { name, span: item.span(), value });
        }
    }

    fn schema(&self) -> Json {
        Json::object([
            ("type", Json::text("object")),
            ("additionalProperties", section_schema::<T>()),
        ])
    }

    fn list(&mut self, path: &str, to: &mut BTreeMap<String, String>) {
        for entry in &mut self.0 {
            let path = format!("{path}.{}", entry.name);
            to.insert(path.clone(), "{}".to_owned());
            list_section(&mut entry.value, &path, to);
        }
    }

    fn document(&self, path: &str, about: &'static str, to: &mut Vec<(String, String, String)>) {
        let path = format!("{path}.NAME");
        to.push((path.clone(), "a table".to_owned(), about.to_owned()));
        document_section::<T>(&path, to);
    }
}

impl<T: Section> Value for Listed<T> {
    fn read(&mut self, path: &str, item: &Item<'_>, reading: &mut Reading<'_>) {
        let DeValue::Array(items) = item.get_ref() else {
            let found = scalar::found(item.get_ref());
            let message = format!("{path} must be an array of tables ([[{path}]]), found {found}");
            return reading.problem(&item.span(), message);
        };
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(value) = reading.section(&path, item) else { continue };
            self.0.push(Entry { name: String::new(), span: item.span(), value });
        }
    }

    fn schema(&self) -> Json {
        Json::object([("type", Json::text("array")), ("items", section_schema::<T>())])
    }

    fn list(&mut self, path: &str, to: &mut BTreeMap<String, String>) {
        let order: Vec<_> = self.0.iter().map(|entry| &*entry.name).collect();
        // Tables without names are told by their positions.
        if order.iter().any(|name| !name.is_empty()) {
            to.insert(path.to_owned(), format!("[{}]", order.join(", ")));
        }
        for (index, entry) in self.0.iter_mut().enumerate() {
            let path = match entry.name.is_empty() {
                true => format!("{path}[{index}]"),
                false => format!("{path}.{}", entry.name),
            };
            list_section(&mut entry.value, &path, to);
        }
    }

    fn document(&self, path: &str, about: &'static str, to: &mut Vec<(String, String, String)>) {
        to.push((path.to_owned(), "an array of tables".to_owned(), about.to_owned()));
        document_section::<T>(path, to);
    }
}

/// Reads the fields of one table.
pub(super) struct TableReader<'a, 'b, 'c> {
    pub(super) path: &'a str,
    pub(super) table: &'a DeTable<'b>,
    pub(super) known: Vec<&'static str>,
    pub(super) missing: Vec<&'static str>,
    pub(super) reading: &'a mut Reading<'c>,
}

impl Fields for TableReader<'_, '_, '_> {
    fn field(&mut self, name: &'static str, _about: &'static str, value: &mut dyn Value) {
        self.known.push(name);
        match self.table.get(name) {
            Some(item) => value.read(&joined(self.path, name), item, self.reading),
            None if value.is_required() => self.missing.push(name),
            None => {}
        }
    }
}
