//! `storm URL` against services that work, that overload, and that misbehave: real processes and sockets.
//!
//! What a storm measures depends on the machine; asserted is the kind of its verdict, and that it ends.

#![expect(
    clippy::disallowed_methods,
    reason = "servers and waits of these tests have threads of their own"
)]

mod unusable_targets;
mod verdicts;

use std::path::PathBuf;
use std::process::{Command, Output};

pub(crate) const STORM: &str = env!("CARGO_BIN_EXE_backpressure-storm");

/// Runs `storm` with the arguments; its report goes to a folder of its own.
pub(crate) fn storm(name: &str, arguments: &[&str]) -> Output {
    command(name, arguments).output().expect("the storm runs")
}

pub(crate) fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(STORM);
    command.arg("storm").args(arguments).arg("--quick").arg("--out").arg(folder(name));
    command
}

pub(crate) fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}
