//! Single values: how they are written, read, and named in messages.

use toml::de::DeValue;

use super::json::Json;

/// A value without parts that have names.
pub(in crate::policy) trait Scalar: Clone {
    /// What is expected, as in `must be …`.
    fn expected() -> String;
    /// # Errors
    /// `must be …, found …`.
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(value).ok_or_else(|| mismatch(&Self::expected(), value))
    }
    /// `None`: it is something else.
    fn parse(value: &DeValue<'_>) -> Option<Self>;
    fn schema() -> Json;
    /// As it would be written.
    fn show(&self) -> String;
}

pub(super) fn mismatch(expected: &str, value: &DeValue<'_>) -> String {
    format!("must be {expected}, found {}", found(value))
}

/// A part of the file in a message: short, and without control characters.
pub(in crate::policy) fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    let mut short: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}

/// What stands in the file, in a few words.
pub(in crate::policy) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", shortened(text)),
        DeValue::Integer(number) => shortened(number.as_str()),
        DeValue::Float(number) => shortened(number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

pub(in crate::policy) fn integer(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Integer(number) = value else { return None };
    let digits = number.as_str().replace('_', "");
    u64::from_str_radix(digits.trim_start_matches('+'), number.radix()).ok()
}

impl Scalar for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn schema() -> Json {
        Json::object([("type", Json::text("boolean"))])
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Whole numbers of one type.
macro_rules! whole {
    ($($number:ty),*) => {$(
        impl Scalar for $number {
            fn expected() -> String {
                match u32::try_from(<$number>::MAX) {
                    Ok(max) => format!("a whole number of 0 to {max}"),
                    Err(_) => "a whole number".to_owned(),
                }
            }

            fn parse(value: &DeValue<'_>) -> Option<Self> {
                integer(value)?.try_into().ok()
            }

            fn schema() -> Json {
                Json::object([("type", Json::text("integer")), ("minimum", Json::Number(0))])
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole!(u16, u32, u64, usize);

impl Scalar for f64 {
    fn expected() -> String {
        "a finite number".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        let text = match value {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return None,
        };
        text.replace('_', "").parse().ok().filter(|number: &Self| number.is_finite())
    }

    fn schema() -> Json {
        Json::object([("type", Json::text("number"))])
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for String {
    fn expected() -> String {
        "a text".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn schema() -> Json {
        Json::object([("type", Json::text("string"))])
    }

    fn show(&self) -> String {
        format!("\"{}\"", shortened(self))
    }
}

/// One value, or several in an array.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) struct Many<T>(pub(in crate::policy) Vec<T>);

impl<T: Scalar> Scalar for Many<T> {
    fn expected() -> String {
        format!("{}, or an array of such", T::expected())
    }

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Array(items) if items.is_empty() => {
                Err("must not be an empty array: it would match nothing".to_owned())
            }
            DeValue::Array(items) => {
                items.iter().map(|item| T::read(item.get_ref())).collect::<Result<_, _>>().map(Self)
            }
            one => T::read(one).map(|one| Self(vec![one])),
        }
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        Self::read(value).ok()
    }

    fn schema() -> Json {
        let many = Json::object([
            ("type", Json::text("array")),
            ("items", T::schema()),
            ("minItems", Json::Number(1)),
        ]);
        Json::object([("anyOf", Json::Array(vec![T::schema(), many]))])
    }

    fn show(&self) -> String {
        let items: Vec<_> = self.0.iter().map(T::show).collect();
        match &*items {
            [one] => one.clone(),
            _ => format!("[{}]", items.join(", ")),
        }
    }
}

/// Texts by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::policy) struct Texts(pub(in crate::policy) Vec<(String, String)>);

impl Scalar for Texts {
    fn expected() -> String {
        "a table of texts".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        let table = value.as_table()?;
        let texts = table.iter().map(|(name, text)| {
            Some((name.get_ref().clone().into_owned(), text.get_ref().as_str()?.to_owned()))
        });
        texts.collect::<Option<_>>().map(Self)
    }

    fn schema() -> Json {
        let fields = [("type", Json::text("object")), ("additionalProperties", String::schema())];
        Json::object(fields)
    }

    fn show(&self) -> String {
        let texts: Vec<_> = self
            .0
            .iter()
            .map(|(name, text)| format!("{} = {}", name.show(), text.show()))
            .collect();
        format!("{{ {} }}", texts.join(", "))
    }
}
