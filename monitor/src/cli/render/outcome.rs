//! What came of a reload or a confirmation in, what its command says out.

use monitor_api::reload::Outcome;
use monitor_policy::text::span;

/// What `egress-monitor reload` and `confirm` say.
pub fn outcome(outcome: &Outcome) -> String {
    let Outcome { policy, changed, unconfirmed, warning } = outcome;
    let what = if *changed { "in force now" } else { "in force, as before" };
    let mut text = format!("policy {} ({}) is {what}\n", policy.digest, policy.mode);
    if let Some(pending) = unconfirmed {
        text += &format!(
            "UNCONFIRMED: returns to {} ({}) in {}; `egress-monitor confirm` keeps it\n",
            pending.back_to.digest,
            pending.back_to.mode,
            span(pending.seconds_left)
        );
    }
    if let Some(warning) = warning {
        text += &format!("warning: {warning}\n");
    }
    text
}
