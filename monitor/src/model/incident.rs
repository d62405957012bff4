//! An incident as data: flows, or packets without one, that have in common what is wrong with them. The incidents' room
//! makes it; alerts, documents and metrics show it. It holds names and not numbers, so that it outlives policy and name
//! tables.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Class, Counters},
};
use monitor_policy::{geo::Country, text::hex};
use serde::{Deserialize, Serialize};

use super::{attribution::Attribution, severity::Severity, sighting::FlowSighting};

/// Who an incident is, from its first alert to its last and over restarts: 128 bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IncidentId(pub [u8; 16]);

impl fmt::Display for IncidentId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&hex(&self.0))
    }
}

impl FromStr for IncidentId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten().ok_or(())?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// What an incident is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Flows from one source to one network.
    Egress,
    /// Flows that have no incident of their own, because there are too many.
    Others,
    /// Flows that a TCP reset began and that sent nothing but headers: answers to what nobody here asked for.
    Answers,
    /// Packets whose flow found no place in the flow table.
    Overflow,
    /// Packets without a flow.
    Unparsed,
}

impl IncidentKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Egress, Self::Others, Self::Answers, Self::Overflow, Self::Unparsed];

    /// The alert's type, and the metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Others => "egress_others",
            Self::Answers => "egress_answers",
            Self::Overflow => "egress_overflow",
            Self::Unparsed => "egress_unparsed",
        }
    }
}

/// Which of an incident's alerts one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first, as soon as something is seen.
    First,
    /// It has sent twice as much as was told.
    More,
    /// It is over.
    End,
}

/// A packet without a flow, as its first one was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnparsedPacket {
    /// Bytes on the wire.
    pub wire_bytes: u32,
    /// Its first bytes, from the link header on: at most [`monitor_common::wire::HEAD`].
    pub head: Vec<u8>,
}

/// Where a flow goes and from where, as the first, or as an example of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Source address.
    pub source: IpAddr,
    /// Source port; 0 where the protocol has none.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; ICMP: type × 256 + code.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Interface that it left by.
    pub interface: String,
    /// Whether the destination itself is what decided, and not an address beyond it.
    pub decides: bool,
}

/// Examples that are kept.
pub const EXAMPLES: usize = 20;

/// Different things, as many as are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Few<T: Ord> {
    /// The first [`Self::MOST`] that were seen.
    pub seen: BTreeSet<T>,
    /// Whether there were more.
    pub more: bool,
}

impl<T: Ord> Default for Few<T> {
    fn default() -> Self {
        Self { seen: BTreeSet::new(), more: false }
    }
}

impl<T: Ord> Few<T> {
    /// How many are told apart.
    pub const MOST: usize = 64;

    /// Takes one in.
    pub fn insert(&mut self, one: T) {
        if self.more || self.seen.contains(&one) {
            return;
        }
        self.more = self.seen.len() >= Self::MOST;
        if !self.more {
            self.seen.insert(one);
        }
    }

    /// How many there were: `3`, or `more than 64`.
    pub fn text(&self) -> String {
        if self.more { format!("more than {}", self.seen.len()) } else { self.seen.len().to_string() }
    }
}

/// An incident as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Who it is.
    pub id: IncidentId,
    /// What it is made of.
    pub kind: IncidentKind,
    /// What the destinations are to the policy; unparsed packets have none.
    pub class: Option<Class>,
    /// What happens to the packets.
    pub verdict: Verdict,
    /// Where they go; none of unparsed packets, and of what has no incident of its own in any country.
    #[serde(with = "country")]
    pub country: Option<Country>,
    /// The rule that decides, if one does.
    pub rule: Option<String>,
    /// The network that they go to.
    pub network: Option<IpNetwork>,
    /// Where forwarded packets come from; none of this host's own.
    pub source: Option<IpAddr>,
    /// Why packets have no flow, by name, and the interface that they leave by.
    pub unparsed: Option<(String, String)>,
    /// The flow that was seen first.
    pub example: Option<Example>,
    /// The packet without a flow that was seen first, where the kernel part could show it.
    pub packet: Option<UnparsedPacket>,
    /// Digest of the policy that held at the first.
    pub policy: String,
    /// The zone's name.
    pub zone: String,
    /// Epoch of the first.
    pub epoch: u32,
    /// First packet, UTC nanoseconds since 1970.
    pub first: i64,
    /// Last packet.
    pub last: i64,
    /// All packets until now: those of closed epochs.
    #[serde(with = "counters")]
    pub totals: Counters,
    /// Bytes of the first packet on the wire, of which the first alert tells.
    pub first_bytes: u64,
    /// Flows until now. One that was forgotten, after twice ten minutes of silence or over a restart, counts again.
    pub flows: u64,
    /// Destinations: where the address is that decided.
    pub peers: Few<IpAddr>,
    /// Protocols and destination ports.
    pub ports: Few<(u8, u16)>,
    /// The first flows of those that have no incident of their own.
    pub examples: Vec<Example>,
    /// Who sends, once somebody has looked; builds before 0.8 did not.
    #[serde(default)]
    pub attribution: Option<Box<Attribution>>,
}

/// A country as its two letters.
mod country {
    use super::{Country, Deserialize as _, Serialize as _};

    #[expect(clippy::ref_option, reason = "as serde calls it")]
    pub(super) fn serialize<S: serde::Serializer>(country: &Option<Country>, to: S) -> Result<S::Ok, S::Error> {
        country.map(|country| country.0).serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Country>, D::Error> {
        Option::<[u8; 2]>::deserialize(from).map(|letters| letters.map(Country))
    }
}

/// Packets, segments, bytes, bytes on the wire.
mod counters {
    use super::{Counters, Deserialize as _, Serialize as _};

    pub(super) fn serialize<S: serde::Serializer>(of: &Counters, to: S) -> Result<S::Ok, S::Error> {
        [of.packets, of.segments, of.bytes, of.wire_bytes].serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Counters, D::Error> {
        let [packets, segments, bytes, wire_bytes] = <[u64; 4]>::deserialize(from)?;
        Ok(Counters { packets, segments, bytes, wire_bytes })
    }
}

/// Bytes that answers may have before they are as bad as what they pass for: 1 MiB.
const MANY: u64 = 1 << 20;

impl Incident {
    /// How bad.
    pub const fn severity(&self) -> Severity {
        match (self.kind, self.verdict, self.class) {
            (IncidentKind::Answers, ..) if self.totals.wire_bytes < MANY => Severity::Low,
            (_, Verdict::Observed, Some(Class::Outside)) => Severity::High,
            (_, Verdict::Observed, _) | (_, Verdict::Denied, Some(Class::Outside)) => Severity::Medium,
            (_, Verdict::Denied | Verdict::Allowed, _) => Severity::Low,
        }
    }

    /// What it has sent, or what its first packet did until an epoch is closed.
    pub fn counted(&self) -> Counters {
        if self.totals.is_zero() {
            Counters { packets: 1, segments: 1, bytes: self.first_bytes, wire_bytes: self.first_bytes }
        } else {
            self.totals
        }
    }

    /// Why its packets have no flow.
    pub fn reason(&self) -> Option<Reason> {
        let (name, _) = self.unparsed.as_ref()?;
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// An alert on an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentAlert {
    /// Which of its alerts.
    pub stage: Stage,
    /// When it was made: of the first, when the first packet left. UTC nanoseconds since 1970.
    pub time: i128,
    /// As it stood.
    pub incident: Incident,
    /// All of the flow that was seen first, with the first alert.
    pub sighting: Option<Box<FlowSighting>>,
}

impl IncidentAlert {
    /// How bad. That it is over is for the record.
    pub const fn severity(&self) -> Severity {
        match self.stage {
            Stage::End => Severity::Informational,
            Stage::First | Stage::More => self.incident.severity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = IncidentId(std::array::from_fn(|at| at as u8 * 17));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "00112233445566778899aabbccddeef", "+0112233445566778899aabbccddeeff", "0".repeat(33).as_str()]
        {
            assert_eq!(text.parse::<IncidentId>(), Err(()), "{text}");
        }
    }

    #[test]
    fn few_are_told_apart_and_that_there_were_more_is_said() {
        let mut few = Few::default();
        (0..64).chain(0..64).for_each(|number| few.insert(number));
        assert_eq!((few.text().as_str(), few.more), ("64", false));
        few.insert(64);
        few.insert(3);
        assert_eq!((few.text().as_str(), few.seen.len()), ("more than 64", 64));
    }
}
