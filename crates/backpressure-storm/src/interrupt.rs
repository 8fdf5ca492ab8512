//! Waits until a user or a supervisor asks the process to end.

/// Returns on ^C and, on Unix, on SIGTERM and SIGHUP.
#[cfg(unix)]
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// Returns on ^C and, on Unix, on SIGTERM and SIGHUP.
#[cfg(not(unix))]
pub(crate) async fn interrupted() {
    _ = tokio::signal::ctrl_c().await;
}
