//! Scenarios as data: services, streams of requests, changes, and expected figures.

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

/// One kind of overload, or of its absence.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What happens in it, in a sentence.
    pub(crate) says: String,
    /// The family it belongs to.
    pub(crate) kind: String,
    /// Its length in virtual seconds.
    pub(crate) seconds: f64,
    /// Seconds at its start that are not scored.
    #[serde(default)]
    pub(crate) warmup: f64,
    /// When the change comes after which convergence is measured; by default the last step.
    pub(crate) change: Option<f64>,
    /// Whether every build runs it.
    #[serde(default)]
    pub(crate) smoke: bool,
    /// The streams call the first service; each service calls only those below it.
    #[serde(rename = "service")]
    pub(crate) services: Vec<Service>,
    #[serde(rename = "stream")]
    pub(crate) streams: Vec<Stream>,
    /// By name of the controller.
    #[serde(default)]
    pub(crate) expect: BTreeMap<String, Expected>,
}

/// Ranges of expected figures, both ends included.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    pub(crate) goodput: Option<(f64, f64)>,
    pub(crate) worst_class: Option<(f64, f64)>,
    pub(crate) obedient: Option<(f64, f64)>,
    pub(crate) p99: Option<(f64, f64)>,
    pub(crate) false_reject: Option<(f64, f64)>,
    pub(crate) converge: Option<(f64, f64)>,
}

impl Scenario {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        check::check(&scenario).map_err(|fault| format!("{}: {fault}", scenario.name))?;
        Ok(scenario)
    }

    /// A scenario from `parts`, its services and streams, without a file.
    ///
    /// # Errors
    /// See [`parse`](Self::parse).
    pub(crate) fn made_up(seconds: f64, parts: &str) -> Result<Self, String> {
        let head = "name = 'unnamed'\nsays = 'A scenario without a file.'\nkind = 'unnamed'";
        Self::parse(&format!("{head}\nseconds = {seconds:?}\n{parts}"))
    }

    /// # Errors
    /// What is wrong with it, or why the file cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|fault| format!("{}: {fault}", path.display()))
    }
}
