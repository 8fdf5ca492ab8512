//! Options of `storm URL`.

use crate::text::parse_duration;
use clap::Args;
use http::Method;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `storm URL`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = include_str!("help.txt"))]
pub(crate) struct UrlOptions {
    // clap takes the placeholder itself for a line break.
    /// What to storm; an `n` in curly brackets becomes another number for each request, so that caches miss
    pub(crate) url: String,
    /// The method: GET, or POST with a body
    #[arg(long, short = 'X', value_name = "METHOD")]
    pub(crate) method: Option<Method>,
    /// A header field, as `name: value`; may be repeated
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    pub(crate) headers: Vec<String>,
    /// The body, or `@FILE` for the content of a file
    #[arg(long, short = 'd', value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// A text that a good answer has in its first 64 KiB: some services answer errors with a 200
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) expect: Option<String>,
    /// HTTP/2 without negotiation ("prior knowledge"), over TLS with ALPN
    #[arg(long)]
    pub(crate) http2: bool,
    /// Certificates in PEM to trust, instead of those of the system
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// After this time a response is worthless, and the client hangs up
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "TIME")]
    pub(crate) deadline: Duration,
    /// How long each step is measured [default: 2s, with --quick 1s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) duration: Option<Duration>,
    /// Fewer and shorter steps: 0.5x, 2x and 10x
    #[arg(long)]
    pub(crate) quick: bool,
    /// Requests a second that the service can do, instead of searching for them
    #[arg(long, value_name = "RATE")]
    pub(crate) capacity: Option<f64>,
    /// Highest offered load, in requests a second
    #[arg(long, default_value_t = 10_000.0, value_name = "RATE")]
    pub(crate) max_rate: f64,
    /// Most requests on the wire at once; over HTTP/1 each takes a connection
    #[arg(long, default_value_t = 4_000, value_name = "NUMBER")]
    pub(crate) connections: usize,
    /// Command that makes the service slow; run with `sh -c`, must return within ten seconds
    #[arg(long, requires = "brown_out_end", value_name = "COMMAND")]
    pub(crate) brown_out_start: Option<String>,
    /// Command that undoes it; run in any case, after ^C too
    #[arg(long, requires = "brown_out_start", value_name = "COMMAND")]
    pub(crate) brown_out_end: Option<String>,
    /// How long the brown-out lasts [default: 10s, with --quick 4s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) brown_out_lasts: Option<Duration>,
    /// Longest time for all of it; then what was measured is reported
    #[arg(long, default_value = "15m", value_parser = parse_duration, value_name = "TIME")]
    pub(crate) time_limit: Duration,
    /// Print the report as JSON, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Where report.html and report.json go
    #[arg(long, default_value = "target/storm/url", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Storm a service that is not on this machine. A storm of a service of others is an attack
    #[arg(long)]
    pub(crate) i_own_this_service: bool,
    /// Seed of the arrival times
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
}

/// Loads that are offered, over capacity.
const LOADS: [f64; 5] = [0.5, 1.0, 2.0, 5.0, 10.0];
const QUICK_LOADS: [f64; 3] = [0.5, 2.0, 10.0];

impl UrlOptions {
    /// Checks what clap cannot.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let bounds: [(&str, Duration, u64, u64); 4] = [
            ("--deadline", self.deadline, 10, 60_000),
            ("--time-limit", self.time_limit, 1_000, 86_400_000),
            ("--duration", self.window(), 100, 60_000),
            ("--brown-out-lasts", self.brown_out_lasts(), 100, 300_000),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&(value.as_millis() as u64)) {
                return Err(format!("{name} is {value:?}, not from {least} ms to {most} ms"));
            }
        }
        let rates = [("--max-rate", Some(self.max_rate)), ("--capacity", self.capacity)];
        for (name, rate) in rates {
            if rate.is_some_and(|rate| !(0.1..=100_000.0).contains(&rate)) {
                return Err(format!("{name} is not from 0.1 to 100000 requests a second"));
            }
        }
        if !(1..=20_000).contains(&self.connections) {
            return Err("--connections is not from 1 to 20000".into());
        }
        Ok(())
    }

    /// Measured time of a step.
    pub(crate) fn window(&self) -> Duration {
        let default = Duration::from_secs(if self.quick { 1 } else { 2 });
        self.duration.unwrap_or(default)
    }

    pub(crate) fn brown_out_lasts(&self) -> Duration {
        self.brown_out_lasts.unwrap_or(Duration::from_secs(if self.quick { 4 } else { 10 }))
    }

    pub(crate) fn loads(&self) -> &'static [f64] {
        if self.quick { &QUICK_LOADS } else { &LOADS }
    }
}

#[cfg(test)]
impl UrlOptions {
    /// The options of a command line, without the name of the program and of the command.
    pub(crate) fn parsed(arguments: &[&str]) -> Result<Self, String> {
        use crate::plan::{Command, Options};
        match Options::command(&[&["storm"], arguments].concat())? {
            Command::Storm(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }
}
