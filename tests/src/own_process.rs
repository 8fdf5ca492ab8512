//! A test program that is started again by itself, as a process that can be suspended.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The process; killed when dropped.
#[derive(Debug)]
pub struct OwnProcess {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl OwnProcess {
    /// Runs only this ignored test, with this variable in its environment.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start(test: &str, variable: &str, value: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        let command = command.env(variable, value).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("this program can be started");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self { process, lines }
    }

    /// Sends a signal: `-STOP`, `-CONT`.
    ///
    /// # Panics
    /// When `kill` fails.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args([name, &self.process.id().to_string()]).status();
        assert!(status.expect("kill is installed").success());
    }

    /// What follows this word on the next line that begins with it.
    ///
    /// # Panics
    /// When the process ends before.
    pub fn wait_for(&mut self, word: &str) -> String {
        let mut lines = self.lines.by_ref().map(|line| line.expect("text"));
        lines.find_map(|line| Some(line.strip_prefix(word)?.to_owned())).expect("it says so")
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        // It has ended unless a test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
