//! The clocks in, what commands say of them out.

use monitor_api::clock::ClockStatus;
use monitor_policy::text::{age, counted, span};

/// What `egress-monitor clock` says.
pub fn clock(status: &ClockStatus, now: i128) -> String {
    let ClockStatus { synchronised, latest_synchronised, jumps, .. } = status;
    let kernel = match synchronised {
        Some(true) => "synchronised",
        Some(false) => "not synchronised",
        None => "unknown (adjtimex is refused)",
    };
    let latest = latest_synchronised.as_deref().map(|at| format!("{} ({at})", age(at, now)));
    let latest = latest.unwrap_or_else(|| "never seen synchronised".into());
    let by = clock_behind(status).unwrap_or_else(|| "the wall clock".into());
    format!(
        "the kernel's clock   {kernel}\nlatest synchronised  {latest}\nset since the start  {}\nrules go by          \
         {by}\n",
        counted(usize::try_from(*jumps).unwrap_or(usize::MAX), "time")
    )
}

/// That rules go by a later time than the wall clock's.
pub fn clock_behind(status: &ClockStatus) -> Option<String> {
    let latest = status.latest_synchronised.as_deref()?;
    (status.behind_seconds > 0).then(|| {
        format!("the latest synchronised time ({latest}): the wall clock is {} behind", span(status.behind_seconds))
    })
}
