//! The brown-out of a user's service: a command that makes it slow, and one that undoes it in any case.

use crate::event_log::Window;
use crate::url_storm::options::UrlOptions;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Longest time for a command; then it and its children are killed.
const MAX_COMMAND: Duration = Duration::from_secs(10);
/// How often it is asked whether a command has ended.
const POLL: Duration = Duration::from_millis(20);

/// A brown-out under way.
#[derive(Debug)]
pub(crate) struct BrownOut {
    task: JoinHandle<Result<(), String>>,
}

impl BrownOut {
    /// Runs the first command when the window begins, and the second one when it ends.
    pub(crate) fn schedule(options: &UrlOptions, window: Window) -> Self {
        let start = options.brown_out_start.clone().unwrap_or_default();
        let end = Undo { command: options.brown_out_end.clone() };
        let task = tokio::spawn(async move {
            sleep(window.from).await;
            // `end` goes along: dropped early, it runs when the first command has ended, and never beside it.
            let started =
                tokio::task::spawn_blocking(move || (run(&start, "--brown-out-start"), end));
            let (started, end) = started.await.map_err(|error| error.to_string())?;
            if started.is_ok() {
                sleep(window.to.saturating_sub(window.from)).await;
            }
            let ended = tokio::task::spawn_blocking(move || end.undo()).await;
            started.and(ended.map_err(|error| error.to_string())?)
        });
        Self { task }
    }

    /// Waits until it is over, and says what went wrong.
    pub(crate) async fn finish(mut self) -> Result<(), String> {
        (&mut self.task).await.map_err(|error| error.to_string())?
    }
}

impl Drop for BrownOut {
    /// Ends the task, whose [`Undo`] then runs the second command: when the runtime drops it, at the latest.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs its command once: when told, or when dropped.
#[derive(Debug)]
struct Undo {
    command: Option<String>,
}

impl Undo {
    fn undo(mut self) -> Result<(), String> {
        self.command.take().map_or(Ok(()), |command| run(&command, "--brown-out-end"))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(command) = self.command.take()
            && let Err(error) = run(&command, "--brown-out-end")
        {
            eprintln!("error: {error}");
        }
    }
}

/// Runs a command with a shell, for [`MAX_COMMAND`] at most. Its output goes to standard error.
fn run(command: &str, name: &str) -> Result<(), String> {
    let wrong = |why: String| format!("{name} {command:?}: {why}");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::from(io::stderr()));
    own_group(&mut shell);
    let mut child = shell.spawn().map_err(|error| wrong(error.to_string()))?;
    match wait(&mut child).map_err(|error| wrong(error.to_string()))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(wrong(status.to_string())),
        None => Err(wrong(format!("killed, since it had not ended after {MAX_COMMAND:?}"))),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "runs on a thread that may block, or while the runtime ends"
)]
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let polls = MAX_COMMAND.as_millis() / POLL.as_millis();
    for _ in 0..polls {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL);
    }
    kill(child)?;
    child.wait()?;
    Ok(None)
}

/// ^C in a terminal goes to the group in the foreground: the commands are to end by themselves.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

#[cfg(unix)]
fn kill(child: &mut Child) -> io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process_group};
    match i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        Some(group) => Ok(kill_process_group(group, Signal::KILL)?),
        None => child.kill(),
    }
}

#[cfg(not(unix))]
fn kill(child: &mut Child) -> io::Result<()> {
    child.kill()
}
