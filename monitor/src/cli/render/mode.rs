//! The mode in, what commands say of it out.

use monitor_api::mode::{LastGood, ModeByHand, ModeStatus};
use monitor_policy::{
    spec::Mode,
    text::{age, plain, span},
};

use super::short;

/// What `egress-monitor mode` says.
pub fn mode(status: &ModeStatus, now: i128) -> String {
    let mut text = format!("{}\n", effect(status.mode));
    text += &match &status.by_hand {
        Some(by_hand) => format!("{}\n", self::by_hand(by_hand, now)),
        None => "as the configuration says\n".to_owned(),
    };
    if let Some(warning) = &status.warning {
        text += &format!("warning: a restart will not know it: {}\n", plain(warning));
    }
    text
}

/// A mode, and what it does.
pub fn effect(mode: Mode) -> &'static str {
    if mode.enforces() { "enforce: denied packets are dropped" } else { "observe: nothing is dropped" }
}

/// Who set it, in a line.
pub fn by_hand(by_hand: &ModeByHand, now: i128) -> String {
    let ends = match (&by_hand.until, by_hand.seconds_left) {
        (Some(until), Some(left)) => format!("ends in {} ({until})", span(left)),
        _ => "`egress-monitor mode file` ends it".into(),
    };
    let ModeByHand { configured, since, reason, .. } = by_hand;
    let set = age(since, now);
    format!("BY HAND, set {set}, {ends}; the configuration says {configured}: {}", plain(reason))
}

/// That the last good policy is in force, in a line.
pub fn last_good(of: &LastGood, now: i128) -> String {
    let LastGood { refused, policy, mode, since } = of;
    let kept = age(since, now);
    format!("LAST GOOD {} ({mode}), kept {kept}, because files were refused: {}", short(policy), plain(refused))
}
