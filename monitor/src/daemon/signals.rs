//! Signals, the end of `--duration` and a wall clock that was set in, [`Command`]s for the daemon out.

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
};

use super::Command;
use crate::{clock::TrustedClock, kernel};

/// How often the wall clock is held against the one that rules are timed by, and free memory given back.
const CLOCK_LOOK: Duration = Duration::from_secs(5);

/// Signals, the end of the time (which begins when everything is attached) and a wall clock that was set, as
/// commands.
pub(super) fn commands(
    duration: Option<Duration>,
    attached: Arc<Notify>,
    clock: TrustedClock,
) -> std::io::Result<mpsc::Receiver<Command>> {
    let (sender, receiver) = mpsc::channel(4);
    let (mut interrupt, mut terminate, mut hangup): (Signal, Signal, Signal) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::spawn(async move {
        let up = async {
            match duration {
                Some(duration) => {
                    attached.notified().await;
                    tokio::time::sleep(duration).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(up);
        let mut look = tokio::time::interval(CLOCK_LOOK);
        let mut began = boot_began(&clock);
        loop {
            let command = tokio::select! {
                _ = interrupt.recv() => Command::Stop,
                _ = terminate.recv() => Command::Stop,
                () = &mut up => Command::Stop,
                _ = hangup.recv() => Command::Reload,
                _ = look.tick() => {
                    kernel::trim_heap();
                    let jumped = clock.look();
                    let now = boot_began(&clock);
                    let seconds = (now - began) / 1_000_000_000;
                    if seconds == 0 && !jumped {
                        continue;
                    }
                    // That it was set is told with the epoch that this ends.
                    tracing::info!(seconds, "the wall clock was set: rules with times are timed anew");
                    began = now;
                    Command::ClockSet
                }
            };
            if sender.send(command).await.is_err() || command == Command::Stop {
                return;
            }
        }
    });
    Ok(receiver)
}

/// When this machine booted by the clock that rules go by, UTC nanoseconds since 1970: moves when that is set.
fn boot_began(clock: &TrustedClock) -> i128 {
    let map = clock.map();
    i128::from(map.realtime_ns) - i128::from(map.boottime_ns)
}
