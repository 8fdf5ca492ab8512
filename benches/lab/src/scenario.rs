//! A scenario: what stands there, who comes, what changes, and what is expected of it. Data.

mod check;
pub(crate) mod library;
pub(crate) mod service;
pub(crate) mod stream;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use service::Service;
use stream::Stream;

/// One kind of overload, or the absence of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What happens in it, in a sentence.
    pub(crate) says: String,
    /// The family it belongs to.
    pub(crate) kind: String,
    /// How long it takes, in virtual time.
    pub(crate) seconds: f64,
    /// How much of that is not judged.
    #[serde(default)]
    pub(crate) warmup: f64,
    /// When the change comes after which convergence is measured; without it: the last step.
    pub(crate) change: Option<f64>,
    /// Whether it is among the few that every build runs.
    #[serde(default)]
    pub(crate) smoke: bool,
    /// The first one is called by the streams; each calls only those below it.
    #[serde(rename = "service")]
    pub(crate) services: Vec<Service>,
    #[serde(rename = "stream")]
    pub(crate) streams: Vec<Stream>,
    /// By controller.
    #[serde(default)]
    pub(crate) expect: BTreeMap<String, Expected>,
}

/// Ranges in which figures are expected, the ends included.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    pub(crate) goodput: Option<(f64, f64)>,
    pub(crate) worst_class: Option<(f64, f64)>,
    pub(crate) p99: Option<(f64, f64)>,
    pub(crate) false_reject: Option<(f64, f64)>,
    pub(crate) converge: Option<(f64, f64)>,
}

impl Scenario {
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        check::check(&scenario).map_err(|fault| format!("{}: {fault}", scenario.name))?;
        Ok(scenario)
    }

    /// A scenario that no file holds and no table names: `parts` are its services and streams.
    ///
    /// # Errors
    /// See [`parse`](Self::parse).
    pub(crate) fn made_up(seconds: f64, parts: &str) -> Result<Self, String> {
        let head = "name = 'made up'\nsays = 'Nobody tells of it.'\nkind = 'made up'";
        Self::parse(&format!("{head}\nseconds = {seconds:?}\n{parts}"))
    }

    /// # Errors
    /// When the file cannot be read, or see [`parse`](Self::parse).
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|fault| format!("{}: {fault}", path.display()))
    }
}
