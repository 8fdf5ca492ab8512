//! The file is watched: what editors, deployments and accidents do to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tower_backpressure::policy::{PolicySet, PolicyWatch};
use tower_backpressure::server::Handle;

use super::support::{Events, request, service, status};

fn text(name: &str, limit: usize) -> String {
    format!("[bulkhead.{name}]\nlimit = {limit}\n[default]\nbulkhead = \"{name}\"\n")
}

struct Watched {
    folder: TempDir,
    file: PathBuf,
    name: &'static str,
    events: Events,
    policies: PolicySet,
    _watch: PolicyWatch,
}

impl Watched {
    /// A watched file with a limit of 1.
    fn new(name: &'static str) -> Self {
        Self::at(name, tempfile::tempdir().expect("a folder"), |folder| {
            let file = folder.join("policy.toml");
            fs::write(&file, text(name, 1)).expect("a file");
            file
        })
    }

    fn at(name: &'static str, folder: TempDir, file: impl FnOnce(&Path) -> PathBuf) -> Self {
        let (file, events) = (file(folder.path()), Events::default());
        let policies = events.loader().load(&file).expect("a good file");
        let watch = policies.watch();
        Self { folder, file, name, events, policies, _watch: watch }
    }

    /// Puts this text in the place of the file at once. A file that is written in place is empty for a moment, which a busy
    /// machine may draw out.
    fn replace(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).expect("written");
        fs::rename(new, &self.file).expect("renamed");
    }

    fn limit(&self) -> usize {
        Handle::named(self.name).expect("the layer").snapshot().limit
    }

    async fn reaches(&self, limit: usize) {
        self.until(|| self.limit() == limit, &format!("a limit of {limit}")).await;
    }

    async fn fails(&self) {
        self.until(|| self.policies.last_error().is_some(), "an error").await;
    }

    /// The file system takes its own time: it is waited for, and not measured.
    async fn until(&self, is_true: impl Fn() -> bool, what: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_true() {
            assert!(Instant::now() < end, "no {what}: {:?}", self.events.names());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_or_renamed_over_takes_effect() {
    let watched = Watched::new("written");
    fs::write(&watched.file, text("written", 2)).expect("written");
    watched.reaches(2).await;
    // As editors do it.
    let new = watched.folder.path().join(".policy.toml.swp");
    fs::write(&new, text("written", 3)).expect("written");
    fs::rename(&new, &watched.file).expect("renamed");
    watched.reaches(3).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_kubernetes_that_exchanges_its_link_takes_effect() {
    use std::os::unix::fs::symlink;
    let write = |folder: &Path, version: &str, limit| {
        fs::create_dir(folder.join(version)).expect("a folder");
        let file = folder.join(version).join("policy.toml");
        fs::write(file, text("volume", limit)).expect("a file");
        symlink(version, folder.join("..data_tmp")).expect("a link");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("exchanged");
    };
    let watched = Watched::at("volume", tempfile::tempdir().expect("a folder"), |folder| {
        write(folder, "..2026_01", 1);
        symlink("..data/policy.toml", folder.join("policy.toml")).expect("a link");
        folder.join("policy.toml")
    });
    for version in 2..5 {
        write(watched.folder.path(), &format!("..2026_0{version}"), version);
        let before = watched.folder.path().join(format!("..2026_0{}", version - 1));
        fs::remove_dir_all(before).expect("removed");
        watched.reaches(version).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_in_parts_takes_effect_when_it_is_whole() {
    let watched = Watched::new("parts");
    let whole = text("parts", 7);
    for end in (0..=whole.len()).step_by(8).chain([whole.len()]) {
        fs::write(&watched.file, &whole[..end]).expect("written");
        sleep(Duration::from_millis(5)).await;
    }
    watched.reaches(7).await;
    assert!(watched.policies.last_error().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_and_a_missing_one_are_reported_once_and_a_good_one_takes_effect_again() {
    let watched = Watched::new("mended");
    watched.replace("[bulkhead.mended]\nlimit = 0\n");
    watched.fails().await;
    assert_eq!(watched.limit(), 1);
    fs::remove_file(&watched.file).expect("removed");
    watched.until(|| watched.events.names().len() == 3, "second report").await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(watched.events.names(), ["in_force", "refused", "refused"]);
    assert_eq!(watched.limit(), 1);
    fs::write(&watched.file, text("mended", 4)).expect("written");
    watched.reaches(4).await;
    assert!(watched.policies.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_gone_and_comes_back_is_watched_again() {
    let watched = Watched::new("directory");
    sleep(Duration::from_secs(1)).await;
    fs::remove_dir_all(watched.folder.path()).expect("removed");
    watched.until(|| watched.events.names().contains(&"watch_lost"), "loss of the watch").await;
    watched.fails().await;
    assert_eq!(watched.limit(), 1);
    fs::create_dir(watched.folder.path()).expect("a folder");
    fs::write(&watched.file, text("directory", 5)).expect("written");
    watched.reaches(5).await;
    watched.until(|| watched.events.names().contains(&"watch_restored"), "watch again").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_readable_text_leaves_the_policies_in_force() {
    let watched = Watched::new("unreadable");
    fs::remove_file(&watched.file).expect("removed");
    std::os::unix::fs::symlink(&watched.file, &watched.file).expect("a link to itself");
    watched.fails().await;
    fs::remove_file(&watched.file).expect("removed");
    fs::write(&watched.file, [0xFF, 0, 0xFE]).expect("written");
    let says = |what: &'static str| {
        let last = watched.policies.last_error();
        last.is_some_and(|error| error.to_string().contains(what))
    };
    watched.until(|| says("must be UTF-8"), "complaint about bytes").await;
    fs::write(&watched.file, "\0".repeat(100)).expect("written");
    watched.until(|| !says("must be UTF-8"), "complaint about zeros").await;
    assert_eq!(watched.limit(), 1);
    fs::write(&watched.file, text("unreadable", 2)).expect("written");
    watched.reaches(2).await;
}

/// Puts something at this path.
type Replace = fn(&Path);

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_a_folder_or_a_device_in_place_of_the_file_leaves_the_policies_in_force() {
    let watched = Watched::new("no-file");
    let pipe: Replace = |path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.is_ok_and(|status| status.success()));
    };
    let folder: Replace = |path| fs::create_dir(path).expect("a folder");
    let device: Replace = |path| std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
    let gone: Replace = |_| {};
    let others: [(&str, Replace); 4] = [
        ("it is not a file", pipe),
        ("it is not a file", folder),
        ("it is not a file", device),
        ("No such file", gone),
    ];
    for (round, (message, replace)) in others.into_iter().enumerate() {
        let _ = fs::remove_file(&watched.file);
        replace(&watched.file);
        let says =
            || watched.policies.last_error().is_some_and(|it| it.to_string().contains(message));
        watched.until(says, message).await;
        assert!(watched.policies.reload().is_err(), "by call as well, and at once");
        assert_eq!(watched.limit(), round + 1);
        let _ = fs::remove_file(&watched.file).or_else(|_| fs::remove_dir(&watched.file));
        fs::write(&watched.file, text("no-file", round + 2)).expect("written");
        watched.reaches(round + 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_a_thousand_times_during_traffic_ends_at_its_last_version() {
    let watched = Watched::new("replaced");
    let served = service(&watched.policies);
    let traffic = tokio::spawn(async move {
        let instant = super::support::Work(Duration::ZERO, 200);
        loop {
            let found = status(&served, request("/", instant)).await;
            assert!([200, 503].contains(&found), "{found}");
            tokio::task::yield_now().await;
        }
    });
    let (folder, file) = (watched.folder.path().to_owned(), watched.file.clone());
    let writer = tokio::task::spawn_blocking(move || {
        for turn in 0..=1_000 {
            let new = folder.join("new");
            let good = text("replaced", 1 + turn % 9);
            let text = if turn % 3 == 1 { "[bulkhead" } else { &*good };
            fs::write(&new, text).expect("written");
            fs::rename(&new, &file).expect("renamed");
        }
        fs::write(&file, self::text("replaced", 42)).expect("written");
    });
    writer.await.expect("no panic");
    watched.reaches(42).await;
    assert!(!traffic.is_finished(), "no request was lost");
    traffic.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_ends_when_it_is_dropped() {
    let Watched { folder: _folder, file, events, policies, _watch, .. } = Watched::new("dropped");
    drop(_watch);
    sleep(Duration::from_millis(50)).await;
    fs::write(&file, text("dropped", 9)).expect("written");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(events.names(), ["in_force"]);
    policies.reload().expect("a good file");
    assert_eq!(events.names(), ["in_force", "in_force"]);
}
