//! Address in, classification out: the look-up half of the interval index. It reads from [`Tables`], which are maps in
//! the kernel and vectors (`Image`) on the host; `build` makes them.

#![forbid(unsafe_code)]

#[cfg(feature = "user")]
pub mod build;
#[cfg(feature = "user")]
pub mod intervals;
#[cfg(all(test, feature = "user"))]
mod tests;

use crate::wire::{
    Address, Class, ClassRow, Embedded, MAX_RULES_PER_CLASS, RuleRow, RuleRowAction, V6_KEYS, V6Low, V6Node,
};

/// See [`Tables::v4_bucket`].
pub const V4_BUCKETS: u32 = 65_536 + 1;
/// Rows of the bucket table in an image.
pub const V4_BUCKET_ROWS: u32 = V4_BUCKETS.div_ceil(2);
/// Steps that a binary search over 65,536 entries can take, and one to end.
const V4_STEPS: u32 = 17;
/// Levels of a B-tree: eleven children a node.
const V6_LEVELS: u32 = 7;
/// Nodes that fit in [`V6_LEVELS`]: room for 19 million keys.
#[cfg(feature = "user")]
pub(crate) const V6_NODES: usize = ((V6_KEYS + 1).pow(V6_LEVELS) - 1) / V6_KEYS;
/// Steps of a search in a list of low halves (at most 4,095 long).
const V6_LOW_STEPS: u32 = 12;

/// The bit that marks a list of low halves in a [`V6Node`]; without it the value is a class id.
pub(crate) const LOW_LIST: u32 = 1 << 31;
/// Bits for the first row of a list of low halves.
pub(crate) const LOW_START_BITS: u32 = 19;

/// Read access to one compiled image. Every method returns `None` past the end. Indices are relative to the image; the
/// implementer adds where it starts.
pub trait Tables {
    /// The first IPv4 interval that starts in this bucket (addresses with one value of the first 16 bits) or after it;
    /// of bucket 0 the second, since the first starts with the address space. [`V4_BUCKETS`] of them, the last one past
    /// the end.
    fn v4_bucket(&self, number: u32) -> Option<u32>;
    /// Last 16 bits of an interval's start (bits 31..16) and class id (bits 15..0).
    fn v4_entry(&self, index: u32) -> Option<u32>;
    /// First node and number of nodes of the tree for addresses whose first bit is clear, or set.
    fn v6_tree(&self, upper: bool) -> (u32, u32);
    /// A node of these trees.
    fn v6_node(&self, index: u32) -> Option<&V6Node>;
    /// A row of the lists of low halves.
    fn v6_low(&self, index: u32) -> Option<&V6Low>;
    /// A row of the class table.
    fn class_row(&self, class_id: u32) -> Option<&ClassRow>;
    /// A row of the rule table.
    fn rule_row(&self, index: u32) -> Option<&RuleRow>;
    /// CLOCK_BOOTTIME in nanoseconds; called only for rules with a time.
    fn boot_ns(&self) -> u64;
    /// The number itself. In the kernel, as a scalar of which the verifier knows nothing, so that it need not follow
    /// paths through the program that differ only in it one by one.
    fn as_unknown_scalar(&self, number: u32) -> u32 {
        number
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
        Self((row.action as u32) << 16 | row.rule as u32)
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

/// The class id of an IPv4 address; `None` if the image is incomplete.
#[inline(always)]
pub fn class_id_v4(tables: &impl Tables, address: u32) -> Option<u32> {
    let bucket = address >> 16;
    // From the last interval of an earlier bucket, which reaches into this one, to the last that starts here.
    let mut low = tables.v4_bucket(bucket)?.wrapping_sub(1);
    let mut high = tables.v4_bucket(bucket + 1)?.wrapping_sub(1);
    for _ in 0..V4_STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low + 1) >> 1);
        // All after the first start in this bucket: the last 16 bits decide.
        if tables.v4_entry(middle)? >> 16 <= address & 0xffff {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(tables.v4_entry(low)? & 0xffff)
}

/// The class id of an IPv6 address; `None` if the image is incomplete.
#[inline(always)]
pub fn class_id_v6(tables: &impl Tables, address: Address) -> Option<u32> {
    const FIRST_BIT: u64 = 1 << 63;
    let (root, nodes) = tables.v6_tree(address.high & FIRST_BIT != 0);
    let high = address.high & !FIRST_BIT;
    let (mut node, mut best_node, mut best_slot) = (0_u32, 0_u32, 0_u32);
    for _ in 0..V6_LEVELS {
        if node >= nodes {
            break;
        }
        let mut below = V6_KEYS as u32;
        for key in &tables.v6_node(root + node)?.keys {
            // 1 if `high < key`: the borrow, which shows in the first bit, as both lack it. The BPF target has no
            // compare-and-set, and a branch for each key would double the paths that the verifier has to follow.
            below -= (high.wrapping_sub(*key) >> 63) as u32;
        }
        if below > 0 {
            best_node = node;
            best_slot = below - 1;
        }
        node = node * (V6_KEYS as u32 + 1) + 1 + below;
    }
    let value = *tables.v6_node(root + best_node)?.values.get(best_slot as usize)?;
    if value & LOW_LIST == 0 {
        return Some(value);
    }
    let mut low = value & ((1 << LOW_START_BITS) - 1);
    let mut high = low + ((value & !LOW_LIST) >> LOW_START_BITS) - 1;
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

/// The rule of this class row that decides a packet. Rules are tried in order: the compiler has put the most specific
/// first. Without a port, rules for some ports of a protocol cover nothing.
#[inline(always)]
fn matching_rule(tables: &impl Tables, row: &ClassRow, protocol: u8, port: Option<u16>) -> Option<AppliedRule> {
    for i in 0..MAX_RULES_PER_CLASS {
        if i >= row.rules_len {
            break;
        }
        let rule = tables.rule_row(row.rules_start + i)?;
        let covers = rule.protocol == 0
            || (rule.protocol == protocol
                && match port {
                    Some(port) => rule.port_low <= port && port <= rule.port_high,
                    None => rule.port_low == 0 && rule.port_high == u16::MAX,
                });
        if covers {
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
    Some(Classification::new(class_id, row, matching_rule(tables, row, protocol, port)?))
}

/// The IPv4 address that an IPv6 address with an ISATAP interface identifier ends up at (RFC 5214 6.1).
#[must_use]
#[inline(always)]
pub const fn isatap(address: Address) -> Option<u32> {
    if (address.low >> 32) as u32 & !0x0200_0000 == 0x5efe { Some(address.low as u32) } else { None }
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
    let class_id =
        if ip_version == 4 { class_id_v4(tables, destination.low as u32)? } else { class_id_v6(tables, destination)? };
    let row = tables.class_row(class_id)?;
    let inner = match row.embedded {
        0 if ip_version == 4 => None,
        0 => isatap(destination),
        form => Embedded::from_wire(form).extract(destination),
    };
    let Some(inner) = inner else {
        return Some(Classification::new(class_id, row, matching_rule(tables, row, protocol, port)?));
    };
    // Both are looked up before any rule is tried: else the verifier would follow the look-up once for each path out of
    // the rules.
    let inner_class_id = class_id_v4(tables, tables.as_unknown_scalar(inner))?;
    let inner_row = tables.class_row(inner_class_id)?;
    let applied = AppliedRule(tables.as_unknown_scalar(matching_rule(tables, row, protocol, port)?.0));
    let inner_applied = AppliedRule(tables.as_unknown_scalar(matching_rule(tables, inner_row, protocol, port)?.0));
    if row.embedded == 0 {
        // ISATAP: the address and the one inside, each with rules of its own; the stricter.
        let outer = Classification::new(class_id, row, applied);
        let inside = Classification::new(inner_class_id, inner_row, inner_applied);
        return Some(if !outer.keep && inside.rank() > outer.rank() { inside } else { outer });
    }
    // The prefix is no place, the address inside is. Rules on either hold, and the stricter where both have one. But
    // loopback or link-local inside a routed prefix would pass unseen, and the packet does leave the link: it is
    // classified by the prefix, and a rule on the address inside can only deny.
    let local = inner_row.class == Class::Local as u8;
    let by_inner = inner_applied.action() > applied.action() && (!local || inner_applied.action() == DENY);
    let applied = if by_inner { inner_applied } else { applied };
    Some(if local {
        Classification::new(class_id, row, applied)
    } else {
        Classification::new(inner_class_id, inner_row, applied)
    })
}
