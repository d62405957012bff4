//! One of the two policies that are compared, as its image has it.

use monitor_common::{
    classify::{Classification, build::Image},
    evaluate::Evaluation,
    wire::{ClassRow, FullKey, RuleRow},
};

use super::document::{Location, RuleTerms, Verdict};
use crate::{
    policy::{ImageAt, Policy, RuleInfo},
    spec::{Action, Mode},
};

/// One of the two policies.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// The compiled image.
    pub image: Image,
    /// Rule `n` of the image is `rules[n - 1]`.
    pub rules: Vec<RuleTerms>,
    /// The policy's digest.
    pub digest: String,
    /// Whether denied packets are dropped.
    pub mode: Mode,
    /// The moment of the comparison, CLOCK_BOOTTIME in nanoseconds.
    pub boot_ns: u64,
}

impl Side {
    /// A policy of this process, at the moment for which it was compiled, as it is configured: a rule whose budget is used
    /// up counts as one that holds.
    pub fn of(policy: &Policy, mode: Mode) -> Self {
        let terms = |rule: &RuleInfo| RuleTerms {
            id: rule.id.clone(),
            action: if rule.action == Action::Deny { "deny" } else { "allow" }.into(),
            not_before: rule.not_before,
            expires: rule.expires,
            max_bytes_per_day: rule.max_bytes_per_day,
            owner: rule.owner.clone(),
            ticket: rule.ticket.clone(),
            legal_basis: rule.legal_basis.clone(),
            reason: rule.reason.clone(),
            scope: rule.scope.clone(),
        };
        Self {
            image: policy.configured_image(),
            rules: policy.rules.iter().map(terms).collect(),
            digest: policy.digest.clone(),
            mode,
            boot_ns: policy.image.host_boot_ns,
        }
    }

    pub(super) fn image_at(&self) -> ImageAt<'_> {
        ImageAt { image: &self.image, boot_ns: self.boot_ns }
    }

    fn rule(&self, number: u16) -> Option<&str> {
        usize::from(number).checked_sub(1).and_then(|number| self.rules.get(number)).map(|rule| rule.id.as_str())
    }

    pub(super) fn class_row(&self, class_id: u32) -> ClassRow {
        self.image.classes.get(class_id as usize).copied().unwrap_or_default()
    }

    pub(super) fn rows(&self, class: &ClassRow) -> &[RuleRow] {
        let start = class.rules_start as usize;
        self.image.rules.get(start..start + class.rules_len as usize).unwrap_or_default()
    }

    pub(super) fn verdict(&self, of: &Classification) -> Verdict {
        let verdict = if of.deny { "denied" } else { "allowed" };
        Verdict { verdict: verdict.into(), rule: self.rule(of.rule).map(str::to_owned), alerts: of.alert }
    }

    /// The verdict on a flow as the kernel comes to it, and where the destination is that decides; `None` where the image
    /// is not whole.
    pub fn evaluate(&self, key: &FullKey) -> Option<(Verdict, Location)> {
        let found = Evaluation::of_flow(&self.image_at(), key)?;
        Some((self.verdict(&found), Location::of(&self.class_row(found.class_id.into()))))
    }
}
