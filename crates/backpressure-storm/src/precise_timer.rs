//! Waits until an instant, precise to some tens of microseconds.
//!
//! Tokio's timer has a resolution of a millisecond, a fifth of the shorter handler. The kernel's timer does
//! better.

use tokio::time::Instant;

#[cfg(target_os = "linux")]
pub(crate) use kernel::PreciseTimer;
#[cfg(not(target_os = "linux"))]
pub(crate) use plain::PreciseTimer;

#[cfg(target_os = "linux")]
mod kernel {
    use super::Instant;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;
    use tokio::io::unix::AsyncFd;
    use tokio::time::timeout_at;

    /// Two ticks of tokio's timer.
    const BEHIND: Duration = Duration::from_millis(2);

    /// A timer of the kernel, for one waiter at a time.
    #[derive(Debug)]
    pub(crate) struct PreciseTimer(AsyncFd<OwnedFd>);

    impl PreciseTimer {
        /// To be called inside the runtime that waits.
        pub(crate) fn new() -> io::Result<Self> {
            let timer = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )?;
            #[expect(
                deprecated,
                reason = "the descriptor is owned and closed nowhere else, which is all that its successor asks"
            )]
            let timer = AsyncFd::new(timer)?;
            Ok(Self(timer))
        }

        pub(crate) async fn until(&mut self, at: Instant) -> io::Result<()> {
            let wait = at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec::try_from(wait).expect("waits of the storm are seconds"),
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            // Tokio's timer is a fallback, so that no wake can be lost for good.
            timeout_at(at + BEHIND, self.expired()).await.unwrap_or(Ok(()))
        }

        async fn expired(&self) -> io::Result<()> {
            loop {
                let mut ready = self.0.readable().await?;
                // Readiness left over from the last wait ends in "would block", and the loop waits again.
                if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0_u8; 8])?))
                {
                    return read.map(drop);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod plain {
    use super::Instant;
    use std::io;

    /// Tokio's own timer.
    #[derive(Debug)]
    pub(crate) struct PreciseTimer;

    impl PreciseTimer {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn until(&mut self, at: Instant) -> io::Result<()> {
            tokio::time::sleep_until(at).await;
            Ok(())
        }
    }
}
