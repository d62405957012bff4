//! Frames from several CPUs in step: all warm up, stand still while something is read, send for the same time, and
//! stand still again.

use std::{sync::Barrier, thread, time::Duration};

use anyhow::Result;
use egress_monitor_tests::{
    cycles::{Cycles, Meter},
    measure::{self, Flood, Sent},
    netns::Namespace,
    stage::INTERFACE,
};

use crate::{pair::FRAME, plan::Plan};

/// Not counted, after every frame was sent once.
const WARM: Duration = Duration::from_millis(100);

/// What was sent, and what was read when nobody did: before the time that counts, and after it.
pub struct Flooded<T> {
    /// Frames before the time.
    pub before: u64,
    /// Frames within it.
    pub frames: u64,
    /// Frames a second, of all CPUs.
    pub rate: f64,
    /// Cycles within it, of all CPUs.
    pub cycles: f64,
    /// Read at its beginning and at its end.
    pub marks: [T; 2],
}

/// Sends each CPU's share again and again for `time`.
pub fn flood<T>(
    plan: &Plan,
    near: &Namespace,
    shares: &[&[u8]],
    time: Duration,
    meter: &Meter,
    mut mark: impl FnMut() -> Result<T>,
) -> Result<Flooded<T>> {
    let softirqs: Vec<Cycles> = (0..shares.len()).map(|cpu| meter.softirqs(cpu)).collect::<Result<_>>()?;
    let mut read = || -> Result<(T, f64)> {
        let mut cycles = 0.0;
        for softirqs in &softirqs {
            cycles += softirqs.read()?;
        }
        Ok((mark()?, cycles))
    };
    let line = Barrier::new(shares.len() + 1);
    let (line, times) = (&line, [WARM, time].map(|time| plan.time(time)));
    let (senders, before, after) = thread::scope(|scope| {
        let sender = |(cpu, share)| scope.spawn(move || near.run(|| send(cpu, share, times, meter, line)));
        let senders: Vec<_> = shares.iter().copied().enumerate().map(sender).collect();
        line.wait();
        let before = read();
        line.wait();
        line.wait();
        let after = read();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (senders.into_iter().map(join).collect::<Vec<Result<Share>>>(), before, after)
    });
    // Why a sender failed says more than what could not be read.
    let senders: Vec<Share> = senders.into_iter().collect::<Result<_>>()?;
    let ((before, began), (after, ended)) = (before?, after?);
    Ok(Flooded {
        before: senders.iter().map(|share| share.before).sum(),
        frames: senders.iter().map(|share| share.sent.frames).sum(),
        rate: senders.iter().map(|share| share.sent.rate()).sum(),
        cycles: senders.iter().map(|share| share.cycles).sum::<f64>() + ended - began,
        marks: [before, after],
    })
}

struct Share {
    before: u64,
    sent: Sent,
    cycles: f64,
}

/// One CPU's part. It keeps step, whatever fails.
fn send(cpu: usize, share: &[u8], [warm, time]: [Duration; 2], meter: &Meter, line: &Barrier) -> Result<Share> {
    let ready = || {
        measure::pin(cpu)?;
        let (mut flood, cycles) = (Flood::new(INTERFACE, share, FRAME)?, meter.thread()?);
        let before = flood.warm(warm)?;
        anyhow::Ok((flood, cycles, before))
    };
    let ready = ready();
    line.wait();
    line.wait();
    let share = ready.and_then(|(mut flood, cycles, before)| {
        let began = cycles.read()?;
        let sent = flood.send_for(time)?;
        Ok(Share { before, sent, cycles: cycles.read()? - began })
    });
    line.wait();
    share
}
