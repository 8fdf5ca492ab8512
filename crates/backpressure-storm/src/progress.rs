//! Progress bars.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::interval;

const TICK: Duration = Duration::from_millis(100);

/// Two bars, for the whole storm and for the present stage. Without a terminal only lines are printed.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: MultiProgress,
    whole: ProgressBar,
    stage: ProgressBar,
    /// Position of the whole at the end of the present stage, in milliseconds.
    done: u64,
    ticking: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts the bar of the whole storm.
    pub(crate) fn start(whole: Duration) -> Self {
        let bars = MultiProgress::new();
        let whole = bars.add(
            ProgressBar::new(millis(whole))
                .with_style(style("{prefix} {bar:40.cyan/blue} {elapsed} so far, {eta} left")),
        );
        let stage =
            bars.add(ProgressBar::new(1).with_style(style("{prefix} {bar:40.green/blue} {msg}")));
        whole.set_prefix("storm");
        stage.set_prefix("  now");
        Self { bars, whole, stage, done: 0, ticking: None }
    }

    /// Starts the next stage.
    pub(crate) fn stage(&mut self, name: &str, takes: Duration) {
        self.halt();
        self.whole.set_position(self.done);
        self.stage.set_length(millis(takes).max(1));
        self.stage.set_position(0);
        self.stage.set_message(name.to_owned());
        self.ticking = Some(tokio::spawn(tick(self.whole.clone(), self.stage.clone())));
        self.done += millis(takes);
    }

    /// Prints a line above the bars.
    pub(crate) fn say(&self, line: &str) {
        if self.bars.println(line).is_err() || self.whole.is_hidden() {
            eprintln!("{line}");
        }
    }

    fn halt(&mut self) {
        if let Some(ticking) = self.ticking.take() {
            ticking.abort();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.halt();
        self.stage.finish_and_clear();
        self.whole.finish_and_clear();
    }
}

/// Moves both bars with the time until the stage is over.
async fn tick(whole: ProgressBar, stage: ProgressBar) {
    let mut interval = interval(TICK);
    interval.tick().await;
    while stage.position() < stage.length().unwrap_or(0) {
        interval.tick().await;
        stage.inc(millis(TICK));
        whole.inc(millis(TICK));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is fixed").progress_chars("━╸─")
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
