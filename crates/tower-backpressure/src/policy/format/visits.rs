//! What is done with all fields of a section, besides reading them: listing, documenting, and the schema.

use std::collections::BTreeMap;

use super::json::Json;
use super::{Fields, Section, Value};

struct Lister<'a> {
    path: &'a str,
    to: &'a mut BTreeMap<String, String>,
}

impl Fields for Lister<'_> {
    fn field(&mut self, name: &'static str, _about: &'static str, value: &mut dyn Value) {
        value.list(&joined(self.path, name), self.to);
    }
}

/// Adds what is set in a section, by path, as it would be written.
pub(in crate::policy) fn list_section(
    section: &mut impl Section,
    path: &str,
    to: &mut BTreeMap<String, String>,
) {
    section.fields(&mut Lister { path, to });
}

struct Documenter<'a> {
    path: &'a str,
    to: &'a mut Vec<(String, String, String)>,
}

impl Fields for Documenter<'_> {
    fn field(&mut self, name: &'static str, about: &'static str, value: &mut dyn Value) {
        value.document(&joined(self.path, name), about, self.to);
    }
}

/// Adds path, form and meaning of each field.
pub(in crate::policy) fn document_section<T: Section>(
    path: &str,
    to: &mut Vec<(String, String, String)>,
) {
    T::default().fields(&mut Documenter { path, to });
}

#[derive(Default)]
struct Properties {
    all: Vec<(&'static str, Json)>,
    required: Vec<Json>,
}

impl Fields for Properties {
    fn field(&mut self, name: &'static str, about: &'static str, value: &mut dyn Value) {
        self.all.push((name, value.schema().with("description", Json::text(about))));
        if value.is_required() {
            self.required.push(Json::text(name));
        }
    }
}

/// The JSON schema of a section.
pub(in crate::policy) fn section_schema<T: Section>() -> Json {
    let mut properties = Properties::default();
    T::default().fields(&mut properties);
    let schema = Json::object([
        ("type", Json::text("object")),
        ("properties", Json::object(properties.all)),
        ("additionalProperties", Json::Bool(false)),
    ]);
    match properties.required.is_empty() {
        true => schema,
        false => schema.with("required", Json::Array(properties.required)),
    }
}

pub(super) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
