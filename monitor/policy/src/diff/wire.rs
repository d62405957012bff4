//! A [`Side`] as bytes and back: how the daemon hands what is in force to `diff --running`. A line of JSON, then both
//! partitions, class rows and rule rows as they are in memory: both ends are on one machine, and of one version.

use monitor_common::{
    classify::build::{BuildError, Image},
    wire::{ClassRow, RuleRow},
};
use serde::{Deserialize, Serialize};

use super::{document::RuleTerms, side::Side};
use crate::spec::Mode;

/// Another version has another name here, or another form.
const FORM: &str = concat!("egress-monitor image 2 ", env!("CARGO_PKG_VERSION"));

/// Why bytes are no [`Side`].
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The head is not this version's.
    #[error("it is of another version than this command: use the daemon's own binary")]
    Version,
    /// A table is cut off.
    #[error("it is shorter than it says")]
    Short,
    /// Something follows the tables.
    #[error("it is longer than it says")]
    Long,
    /// The tables make no image.
    #[error(transparent)]
    Image(#[from] BuildError),
}

#[derive(Serialize, Deserialize)]
struct Head {
    form: String,
    digest: String,
    enforce: bool,
    boot_ns: u64,
    drop_reasons: u64,
    opaque_denied: u32,
    rules: Vec<RuleTerms>,
    v4: usize,
    v6: usize,
    classes: usize,
    rows: usize,
}

impl Side {
    /// As bytes.
    ///
    /// # Errors
    /// Never in practice: a defect of ours.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let (v4, v6) = (self.image.v4_intervals(), self.image.v6_intervals());
        let head = Head {
            form: FORM.into(),
            digest: self.digest.clone(),
            enforce: self.mode.enforces(),
            boot_ns: self.boot_ns,
            drop_reasons: self.image.drop_reasons,
            opaque_denied: self.image.opaque_denied,
            rules: self.rules.clone(),
            v4: v4.len(),
            v6: v6.len(),
            classes: self.image.classes.len(),
            rows: self.image.rules.len(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        for (start, class_id) in &v4 {
            bytes.extend(start.to_ne_bytes());
            bytes.extend(class_id.to_ne_bytes());
        }
        for (start, class_id) in &v6 {
            bytes.extend(start.to_ne_bytes());
            bytes.extend(class_id.to_ne_bytes());
        }
        bytes.extend_from_slice(bytemuck::cast_slice(&self.image.classes));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.image.rules));
        Ok(bytes)
    }

    /// From bytes.
    ///
    /// # Errors
    /// They are of another version, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let line = bytes.iter().position(|byte| *byte == b'\n').ok_or(DecodeError::Version)?;
        let head: Head = serde_json::from_slice(&bytes[..line]).map_err(|_| DecodeError::Version)?;
        if head.form != FORM {
            return Err(DecodeError::Version);
        }
        let mut rest = &bytes[line + 1..];
        let mut take = |count: usize, size: usize| -> Result<&[u8], DecodeError> {
            let length = count.checked_mul(size).filter(|length| *length <= rest.len());
            let (part, after) = rest.split_at(length.ok_or(DecodeError::Short)?);
            rest = after;
            Ok(part)
        };
        let v4 = take(head.v4, 8)?.chunks_exact(8).map(|pair| (u32::from_ne_bytes(word(pair)), class_id(&pair[4..])));
        let v4: Vec<_> = v4.collect();
        let v6 =
            take(head.v6, 20)?.chunks_exact(20).map(|pair| (u128::from_ne_bytes(word(pair)), class_id(&pair[16..])));
        let v6: Vec<_> = v6.collect();
        let classes = take(head.classes, size_of::<ClassRow>())?.chunks_exact(size_of::<ClassRow>());
        let classes = classes.map(bytemuck::pod_read_unaligned).collect();
        let rows = take(head.rows, size_of::<RuleRow>())?.chunks_exact(size_of::<RuleRow>());
        let rows = rows.map(bytemuck::pod_read_unaligned).collect();
        if !rest.is_empty() {
            return Err(DecodeError::Long);
        }
        let image = Image::build(&v4, &v6, classes, rows)?;
        Ok(Self {
            image: Image { drop_reasons: head.drop_reasons, opaque_denied: head.opaque_denied, ..image },
            rules: head.rules,
            digest: head.digest,
            mode: Mode::enforcing(head.enforce),
            boot_ns: head.boot_ns,
        })
    }
}

/// The first bytes; of too few, zeros.
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn class_id(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(word(bytes))
}

#[cfg(test)]
mod tests {
    use monitor_common::wire::{Address, FlowKey};

    use super::*;
    use crate::{compile, compile::random};

    #[test]
    fn what_is_in_force_comes_out_as_it_went_in_and_damage_is_refused() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let policy = loop {
            let (spec, knowledge) = (random::spec(&mut random), random::knowledge(&mut random));
            if let Ok(policy) = compile(&spec, &knowledge, &random::CLOCK) {
                break policy;
            }
        };
        let side = Side::of(&policy, Mode::Enforce);
        let bytes = side.encode().unwrap();
        let back = Side::decode(&bytes).unwrap();
        assert_eq!(Image { host_boot_ns: side.image.host_boot_ns, ..back.image }, side.image);
        assert_eq!((back.rules, back.digest, back.mode.enforces()), (side.rules.clone(), side.digest.clone(), true));
        assert_eq!(back.boot_ns, side.boot_ns);
        for length in 0..bytes.len() {
            assert!(Side::decode(&bytes[..length]).is_err(), "cut after {length}");
        }
        assert!(Side::decode(&[&bytes[..], b"x"].concat()).is_err());
        for _ in 0..2_000 {
            let mut damaged = bytes.clone();
            let at = random.usize(0..damaged.len());
            damaged[at] ^= 1 << random.u32(0..8);
            // Refused or another one: no panic, and no look-up that has no answer.
            if let Ok(side) = Side::decode(&damaged) {
                let destination = Address::v4(0xc000_0201);
                let key = FlowKey { destination, ip_version: 4, protocol: 6, ..FlowKey::default() };
                assert!(side.evaluate(&key.into()).is_some());
            }
        }
    }
}
