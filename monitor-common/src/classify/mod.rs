//! Address in, classification out: the look-up half of the interval index. It reads from [`Tables`], which are maps in
//! the kernel and vectors (`Image`) on the host; `build` makes them.

#![forbid(unsafe_code)]

#[cfg(feature = "user")]
pub mod build;
#[cfg(feature = "user")]
mod build_error;
#[cfg(feature = "user")]
pub mod intervals;
pub mod node;
#[cfg(all(test, feature = "user"))]
mod tests;
#[cfg(feature = "user")]
mod tree;

use crate::wire::{
    Address, Class, ClassRow, Embedded, InnerDestination, MAX_RULES_PER_CLASS, Node, ON_LINK, RuleRow, RuleRowAction,
    V6Low,
};

/// Cells of a root: one for each value of an address's first 16 bits.
pub const ROOT_CELLS: u32 = 1 << 16;
/// Rows of a root: the elements of a BPF array are multiples of eight bytes, so two cells are one.
pub const ROOT_ROWS: u32 = ROOT_CELLS / 2;
/// Nodes that a look-up passes, the leaf included. A builder that would need more refuses.
const V4_LEVELS: u32 = 5;
/// The same of IPv6.
const V6_LEVELS: u32 = 16;
/// Steps of a search in a list of low halves (at most 65,535 long).
const V6_LOW_STEPS: u32 = 16;

/// The bit of a root's cell that marks the number of a node; without it the cell is a class id.
pub const IS_NODE: u32 = 1 << 31;
/// The bit that marks the first row of a list of low halves; without it the value of an interval is a class id.
pub(crate) const LOW_LIST: u32 = 1 << 31;
/// Rows of all lists of low halves.
const LOW_ROWS: u32 = 1 << 23;
/// Rows of one.
const LOW_LIST_ROWS: u32 = (1 << V6_LOW_STEPS) - 1;

/// Read access to one compiled image. Every method returns `None` past the end. Indices are relative to the image; the
/// implementer adds where it starts.
pub trait Tables {
    /// The cell of IPv4's root for addresses with these first 16 bits: a class id, or [`IS_NODE`] and a node.
    fn v4_cell(&self, number: u32) -> Option<u32>;
    /// A node of IPv4.
    fn v4_node(&self, index: u32) -> Option<&Node>;
    /// As [`Tables::v4_cell`].
    fn v6_cell(&self, number: u32) -> Option<u32>;
    /// A node of IPv6.
    fn v6_node(&self, index: u32) -> Option<&Node>;
    /// A row of the lists of low halves.
    fn v6_low(&self, index: u32) -> Option<&V6Low>;
    /// A row of the class table.
    fn class_row(&self, class_id: u32) -> Option<&ClassRow>;
    /// A row of the rule table.
    fn rule_row(&self, index: u32) -> Option<&RuleRow>;
    /// CLOCK_BOOTTIME in nanoseconds; called only for rules with a time.
    fn boot_ns(&self) -> u64;
    /// [`crate::wire::PolicyMeta::local_class`].
    fn local_class(&self) -> u32;
    /// [`crate::wire::PolicyMeta::opaque_denied`].
    fn opaque_denied(&self) -> u32;
    /// The number itself. In the kernel, as a scalar of which the verifier knows nothing, so that it need not follow
    /// paths through the program that differ only in it one by one. `None` never is: a way out that keeps the number
    /// would be such a path.
    fn as_unknown_scalar(&self, number: u32) -> Option<u32> {
        Some(number)
    }
}

/// What the policy makes of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classification {
    /// Number of the row in the class table.
    pub class_id: u16,
    /// The rule that decides; 0 for none.
    pub rule: u16,
    /// It is denied: by the rule, or where there is none by the class.
    pub deny: bool,
    /// A new flow to it raises an alert.
    pub alert: bool,
    /// The rule is that of the management networks.
    pub keep: bool,
}

/// A rule's number, and in the upper half its [`RuleRowAction`]: of two rules the one with the greater upper half
/// overrides.
#[derive(Clone, Copy)]
struct AppliedRule(u32);

impl AppliedRule {
    const NONE: Self = Self(0);

    #[inline(always)]
    const fn new(row: &RuleRow) -> Self {
        let action = if row.action == RuleRow::KEEP_FROM { RuleRowAction::Keep as u8 } else { row.action };
        Self((action as u32) << 16 | row.rule as u32)
    }

    #[inline(always)]
    const fn action(self) -> u32 {
        self.0 >> 16
    }
}

impl Classification {
    #[inline(always)]
    const fn new(class_id: u32, row: &ClassRow, applied: AppliedRule) -> Self {
        let action = applied.action();
        let (deny, alert) =
            if action == 0 { (row.deny, row.alert) } else { ((action == DENY) as u8, (action == DENY) as u8) };
        Self {
            class_id: class_id as u16,
            rule: applied.0 as u16,
            deny: deny != 0,
            alert: alert != 0,
            keep: action == RuleRowAction::Keep as u32,
        }
    }

    /// How strict, descending: denied, alerted, allowed by a rule, allowed.
    #[must_use]
    #[inline(always)]
    pub const fn rank(&self) -> u8 {
        if self.deny {
            3
        } else if self.alert {
            2
        } else if self.rule != 0 {
            1
        } else {
            0
        }
    }
}

const DENY: u32 = RuleRowAction::Deny as u32;

/// A packet's ports, as far as they are known.
#[derive(Clone, Copy)]
struct Ports {
    /// [`Self::UNKNOWN`] if it is not known.
    source: u32,
    destination: Option<u16>,
}

impl Ports {
    /// Above every port.
    const UNKNOWN: u32 = 1 << 16;
}

/// What a rule's row has to cover.
#[derive(Clone, Copy)]
struct Wanted {
    protocol: u64,
    /// The first and the last port; all of them of a packet whose ports are not known.
    destination: [u64; 2],
    source: [u64; 2],
}

impl Wanted {
    #[inline(always)]
    fn new(protocol: u8, ports: Ports) -> Self {
        let [destination, source] = match ports.destination {
            Some(port) => [[u64::from(port); 2], [u64::from(ports.source); 2]],
            None => [[0, u64::from(u16::MAX)]; 2],
        };
        Self { protocol: u64::from(protocol), destination, source }
    }

    /// 1 if a row covers it, else 0. Without a branch, each of which the kernel's verifier would follow for each of a class's
    /// rows.
    #[inline(always)]
    const fn is_covered(&self, row: &RuleRow) -> u64 {
        const { assert!(RuleRow::KEEP_FROM == 1 << 2 && (RuleRowAction::Keep as u8) < RuleRow::KEEP_FROM) };
        let is_source = 0_u64.wrapping_sub((row.action >> 2) as u64);
        let [[from, to], [source_from, source_to]] = [self.destination, self.source];
        let from = from ^ (from ^ source_from) & is_source;
        let to = to ^ (to ^ source_to) & is_source;
        let outside = (from.wrapping_sub(row.port_low as u64) | (row.port_high as u64).wrapping_sub(to)) >> 63;
        let other_protocol = is_not_zero(row.protocol as u64 ^ self.protocol);
        // Both are 0 or 1.
        (is_not_zero(row.protocol as u64) & (outside | other_protocol)) ^ 1
    }
}

/// 1 unless a byte is zero.
#[inline(always)]
const fn is_not_zero(byte: u64) -> u64 {
    (byte + 0xff) >> 8
}

/// The class id of an IPv4 address; `None` if the image is incomplete.
#[inline(always)]
pub fn class_id_v4(tables: &impl Tables, address: u32) -> Option<u32> {
    let cell = tables.v4_cell(address >> 16)?;
    if cell & IS_NODE == 0 {
        return Some(cell);
    }
    // As the first half of the high half of an IPv6 address.
    find::<V4_LEVELS, false>(cell & !IS_NODE, u64::from(address) << 32, |index| tables.v4_node(index))
}

/// The class id of an IPv6 address; `None` if the image is incomplete.
#[inline(always)]
pub fn class_id_v6(tables: &impl Tables, address: Address) -> Option<u32> {
    let cell = tables.v6_cell((address.high >> 48) as u32)?;
    if cell & IS_NODE == 0 {
        return Some(cell);
    }
    let value = find::<V6_LEVELS, true>(cell & !IS_NODE, address.high, |index| tables.v6_node(index))?;
    // Else the verifier would follow what comes after it once for each kind of leaf on each level.
    let value = tables.as_unknown_scalar(value)?;
    if value & LOW_LIST == 0 {
        return Some(value);
    }
    // Masks without a branch: the verifier follows the search once for each way into it.
    let mut low = value & (LOW_ROWS - 1);
    let mut high = low + (tables.v6_low(low)?.more & LOW_LIST_ROWS);
    for _ in 0..V6_LOW_STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low + 1) >> 1);
        if tables.v6_low(middle)?.start <= address.low {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(tables.v6_low(low)?.class_id)
}

/// Down from a node to the value of the interval that `high` is in: a class id, or [`LOW_LIST`] and a row. `None` past
/// `LEVELS` nodes, where a node is not there, or is none.
#[inline(always)]
fn find<'a, const LEVELS: u32, const WIDE: bool>(
    root: u32,
    high: u64,
    node: impl Fn(u32) -> Option<&'a Node>,
) -> Option<u32> {
    let mut here = node(root)?;
    for _ in 1..LEVELS {
        if !here.is_inner() {
            break;
        }
        here = node(here.child(high))?;
    }
    here.value::<WIDE>(high)
}

/// The rule of this class row that decides a packet. Rules are tried in order: the compiler has put the most specific
/// first. Without a port, rules for some ports of a protocol cover nothing.
#[inline(always)]
fn matching_rule(tables: &impl Tables, row: &ClassRow, protocol: u8, ports: Ports) -> Option<AppliedRule> {
    let wanted = Wanted::new(protocol, ports);
    for i in 0..MAX_RULES_PER_CLASS {
        if i >= row.rules_len {
            break;
        }
        let rule = tables.rule_row(row.rules_start + i)?;
        if wanted.is_covered(rule) != 0 {
            if rule.always() {
                return Some(AppliedRule::new(rule));
            }
            let now = tables.boot_ns();
            if rule.not_before_ns <= now && now < rule.expires_ns {
                return Some(AppliedRule::new(rule));
            }
        }
    }
    Some(AppliedRule::NONE)
}

/// What a class row comes to by itself, whatever IPv4 address its addresses carry. `None` as for [`classify`].
#[cfg(feature = "user")]
#[must_use]
pub fn classify_row(tables: &impl Tables, class_id: u32, protocol: u8, port: Option<u16>) -> Option<Classification> {
    let row = tables.class_row(class_id)?;
    let ports = Ports { source: Ports::UNKNOWN, destination: port };
    Some(Classification::new(class_id, row, matching_rule(tables, row, protocol, ports)?))
}

/// The IPv4 address that an IPv6 address with an ISATAP interface identifier ends up at (RFC 5214 6.1).
#[must_use]
#[inline(always)]
pub const fn isatap(address: Address) -> Option<u32> {
    if (address.low >> 32) as u32 & !0x0200_0000 == 0x5efe { Some(address.low as u32) } else { None }
}

/// Where a packet goes, as far as it matters to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// Where.
    pub address: Address,
    /// 4 or 6.
    pub ip_version: u8,
    /// IANA protocol number.
    pub protocol: u8,
    /// See [`crate::wire::FlowKey::destination_port`].
    pub port: u16,
    /// Of a packet's own destination, the port that it comes from; else [`Self::NO_SOURCE`].
    pub source_port: u32,
    /// [`ON_LINK`], or 0.
    pub flags: u8,
}

impl Destination {
    /// A source port that is not known.
    pub const NO_SOURCE: u32 = Ports::UNKNOWN;

    /// The same of an inner destination, or of a packet's own in its place.
    #[must_use]
    #[inline(always)]
    pub const fn of(inner: &InnerDestination, source_port: u32) -> Self {
        let InnerDestination { address, port, protocol, ip_version, flags, .. } = *inner;
        Self { address, ip_version, protocol, port, source_port, flags }
    }
}

/// What the policy makes of a packet to this destination. To a group on its last link that is *local*, unless a rule
/// covers it. `None` as for [`classify`].
#[inline(always)]
pub fn classify_packet(tables: &impl Tables, to: &Destination) -> Option<Classification> {
    let ports = Ports { source: to.source_port, destination: Some(to.port) };
    let found = classify_ports(tables, to.ip_version, to.address, to.protocol, ports)?;
    let local = tables.local_class();
    Some(if to.flags & ON_LINK != 0 && found.rule == 0 && local != u32::MAX {
        Classification { class_id: local as u16, ..Classification::default() }
    } else {
        found
    })
}

/// What the policy makes of a flow with these flags, if it makes that of its strictest destination: content that cannot be
/// read may be denied where no rule decides. What stays on the link or host is not. `None` as for [`classify`].
#[inline(always)]
pub fn judge_content(tables: &impl Tables, found: Classification, flags: u8) -> Option<Classification> {
    let mark = flags & !ON_LINK & 0x1f;
    if tables.opaque_denied() >> mark & 1 == 0 || found.rule != 0 {
        return Some(found);
    }
    let row = tables.class_row(found.class_id.into())?;
    let stays = Class::from_wire(row.class).stays();
    Some(if stays { found } else { Classification { deny: true, alert: true, ..found } })
}

/// What the policy makes of a destination, an IPv4 address inside an IPv6 one included. Without a port no rule for some
/// ports covers it. `None` only if the image is incomplete, which its build excludes.
#[inline(always)]
pub fn classify(
    tables: &impl Tables,
    ip_version: u8,
    destination: Address,
    protocol: u8,
    port: Option<u16>,
) -> Option<Classification> {
    classify_ports(tables, ip_version, destination, protocol, Ports { source: Ports::UNKNOWN, destination: port })
}

#[inline(always)]
fn classify_ports(
    tables: &impl Tables,
    ip_version: u8,
    destination: Address,
    protocol: u8,
    ports: Ports,
) -> Option<Classification> {
    let class_id =
        if ip_version == 4 { class_id_v4(tables, destination.low as u32)? } else { class_id_v6(tables, destination)? };
    // What is known of a class and of a rule is forgotten: else the verifier would follow all that comes after it once for each
    // way to it.
    let class_id = tables.as_unknown_scalar(class_id)?;
    let row = tables.class_row(class_id)?;
    let applied = AppliedRule(tables.as_unknown_scalar(matching_rule(tables, row, protocol, ports)?.0)?);
    let inner = match row.embedded {
        0 if ip_version == 4 => None,
        0 => isatap(destination),
        form => Embedded::from_wire(form).extract(destination),
    };
    let Some(inner) = inner else { return Some(Classification::new(class_id, row, applied)) };
    let inner_class_id = tables.as_unknown_scalar(class_id_v4(tables, tables.as_unknown_scalar(inner)?)?)?;
    let inner_row = tables.class_row(inner_class_id)?;
    let inner_applied = AppliedRule(tables.as_unknown_scalar(matching_rule(tables, inner_row, protocol, ports)?.0)?);
    if row.embedded == 0 {
        // ISATAP: the address and the one inside, each with rules of its own; the stricter.
        let outer = Classification::new(class_id, row, applied);
        let inside = Classification::new(inner_class_id, inner_row, inner_applied);
        return Some(if !outer.keep && inside.rank() > outer.rank() { inside } else { outer });
    }
    // The prefix is no place, the address inside is. Rules on either hold, and the stricter where both have one. But
    // loopback or link-local inside a routed prefix would pass unseen, and the packet does leave the link: it is
    // classified by the prefix, and a rule on the address inside can only deny.
    let local = Class::from_wire(inner_row.class).stays();
    let by_inner = inner_applied.action() > applied.action() && (!local || inner_applied.action() == DENY);
    let applied = if by_inner { inner_applied } else { applied };
    Some(if local {
        Classification::new(class_id, row, applied)
    } else {
        Classification::new(inner_class_id, inner_row, applied)
    })
}
