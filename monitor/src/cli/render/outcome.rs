//! What came of a reload, a trial or a confirmation in, what its command says out.

use super::{second, short};
use crate::cli::confirm::Saved;
use monitor_api::reload::Outcome;
use monitor_policy::text::span;

/// What `egress-monitor reload` says.
pub fn outcome(outcome: &Outcome) -> String {
    let Outcome { policy, changed, unconfirmed, warning } = outcome;
    let what = if *changed { "in force now" } else { "in force, as before" };
    let mut text = format!("policy {} ({}) is {what}\n", short(&policy.digest), policy.mode);
    if let Some(pending) = unconfirmed {
        text += &format!(
            "UNCONFIRMED: rolls back in {} to {} ({}); `egress-monitor confirm` keeps it\n",
            span(pending.seconds_left),
            short(&pending.back_to.digest),
            pending.back_to.mode
        );
    }
    if let Some(warning) = warning {
        text += &format!("warning: {warning}\n");
    }
    text
}

/// What `egress-monitor try` says.
pub fn tried(outcome: &Outcome) -> String {
    let Some(pending) = &outcome.unconfirmed else { return self::outcome(outcome) };
    let mode = outcome.policy.mode.name().to_uppercase();
    let (until, back) = (&pending.until, &pending.back_to);
    format!(
        "{mode} on trial for {}, until {}: policy {}\nrolls back to {} ({}) by itself; `egress-monitor confirm` keeps \
         it and saves it\n",
        span(pending.seconds_left),
        second(until),
        short(&outcome.policy.digest),
        short(&back.digest),
        back.mode
    )
}

/// What `egress-monitor confirm` says.
pub fn confirmed(outcome: &Outcome, saved: Option<&Saved>) -> String {
    let mut text = format!("confirmed: policy {} ({})\n", short(&outcome.policy.digest), outcome.policy.mode);
    if let Some(Saved { file, before }) = saved {
        let before = before.as_ref().map(|before| format!("; the one before is {}", before.display()));
        text += &format!("saved to {}{}\n", file.display(), before.unwrap_or_default());
    }
    if let Some(warning) = &outcome.warning {
        text += &format!("warning: {warning}\n");
    }
    text
}
