//! What makes two policies the same: everything that can change a verdict or what is said about it, and nothing that
//! differs between two hosts or two boots. Called by the policy compiler.

use bytemuck::cast_slice;
use monitor_common::classify::build::Image;
use sha2::{Digest as _, Sha256};

use crate::{
    config::{Config, Rule},
    geo::Dataset,
};

/// Bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal over image, zone, rules and the datasets' digests. Rule times go in as wall-clock times;
/// files and lines stay out, so that a comment added above a rule changes nothing.
pub(super) fn of(config: &Config, datasets: &[Dataset], image: &Image) -> String {
    let mut hash = Hash(Sha256::new());
    hash.field(b"egress-monitor policy 3");
    hash.field(cast_slice(&image.v4_buckets));
    hash.field(cast_slice(&image.v4_entries));
    hash.field(cast_slice(&image.v6_nodes));
    hash.field(cast_slice(&image.v6_values));
    hash.field(cast_slice(&image.v6_low));
    hash.field(cast_slice(&image.classes));
    for row in &image.rules {
        hash.field(&[row.rule.to_be_bytes(), row.port_low.to_be_bytes(), row.port_high.to_be_bytes()].concat());
        hash.field(&[row.protocol]);
    }
    let zone = &config.zone;
    hash.field(zone.name.as_bytes());
    let actions = [zone.on_outside, zone.on_ambiguous, zone.on_unknown, zone.on_private];
    hash.field(&actions.map(|action| action as u8));
    // What becomes of each reason, however the configuration comes to it.
    hash.field(&image.drop_reasons.to_be_bytes());
    hash.count(zone.inside.len());
    for country in &zone.inside {
        hash.field(&country.0);
    }
    hash.field(&[u8::from(zone.inside_private)]);
    hash.count(config.rules.len());
    for rule in &config.rules {
        hash.rule(rule);
    }
    hash.count(datasets.len());
    for dataset in datasets {
        hash.field(&dataset.digest);
    }
    hex(&hash.0.finalize())
}

struct Hash(Sha256);

impl Hash {
    /// With its length in front, so that no two sequences of fields read the same.
    fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }

    fn rule(&mut self, rule: &Rule) {
        for text in [&rule.id, &rule.reason, &rule.legal_basis, &rule.owner, &rule.ticket] {
            self.field(text.as_bytes());
        }
        self.count(rule.to.len());
        for (network, _) in &rule.to {
            self.field(network.to_string().as_bytes());
        }
        self.count(rule.ports.len());
        for ports in &rule.ports {
            self.field(&[&[ports.protocol][..], &ports.low.to_be_bytes(), &ports.high.to_be_bytes()].concat());
        }
        for time in [rule.not_before, rule.expires] {
            self.field(&time.map(i64::to_be_bytes).unwrap_or_default());
            self.field(&[u8::from(time.is_some())]);
        }
    }
}
