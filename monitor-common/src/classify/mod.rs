//! Address in, class out: the lookup half of the interval index. [`Tables`] is what it reads from, maps in the
//! kernel and vectors (`Image`) on the host; [`build`] makes it.

#![forbid(unsafe_code)]

#[cfg(feature = "user")]
pub mod build;
#[cfg(feature = "user")]
pub mod intervals;
#[cfg(all(test, feature = "user"))]
mod tests;

use crate::wire::{Address, ClassRow, Embedded, Kind, MAX_RULES_PER_CLASS, RuleRow, Ruling, V6Low, V6Node, V6Values};

/// Steps that a binary search over 65,536 entries can take, and one to end.
const V4_STEPS: u32 = 17;
/// Levels of the B-tree: nine children a node.
const V6_LEVELS: u32 = 7;
/// Nodes that fit in [`V6_LEVELS`]: room for 4.7 million keys.
#[cfg(feature = "user")]
pub(crate) const V6_NODES: usize = (9_usize.pow(V6_LEVELS) - 1) / 8;
/// Steps of a search in a list of low halves (at most 4,095 long).
const V6_LOW_STEPS: u32 = 12;

/// The set bit that tells a list of low halves from a class number in [`V6Values`].
pub(crate) const LOW_LIST: u32 = 1 << 31;
/// Bits for the first row of a list of low halves.
pub(crate) const LOW_START_BITS: u32 = 19;

/// Read access to one compiled image. Every method gives `None` past the end; indices are the image's own, the
/// implementer adds where the image starts.
pub trait Tables {
    /// First and last IPv4 interval (in bits 63..32 and 31..0) that an address with these first 16 bits can be in.
    fn v4_bucket(&self, high16: u32) -> Option<u64>;
    /// Interval start (bits 63..32) and class number (bits 31..0).
    fn v4_entry(&self, index: u32) -> Option<u64>;
    /// How many nodes the tree has.
    fn v6_nodes(&self) -> u32;
    /// A node's keys.
    fn v6_node(&self, index: u32) -> Option<&V6Node>;
    /// A node's values.
    fn v6_values(&self, index: u32) -> Option<&V6Values>;
    /// A row of the low-half lists.
    fn v6_low(&self, index: u32) -> Option<&V6Low>;
    /// A class.
    fn class(&self, number: u32) -> Option<&ClassRow>;
    /// A rule row.
    fn rule(&self, index: u32) -> Option<&RuleRow>;
    /// CLOCK_BOOTTIME in nanoseconds; asked for only when a rule with a time is in question.
    fn boot_ns(&self) -> u64;
    /// The number itself. In the kernel, one of which the verifier knows nothing, so that ways through the program that
    /// differ only in it are walked once.
    fn forget(&self, number: u32) -> u32 {
        number
    }
}

/// What the policy makes of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classified {
    /// The class.
    pub class: u16,
    /// The rule that decides; 0 for none.
    pub rule: u16,
    /// It is denied: the rule says so, or where there is none the class.
    pub deny: bool,
    /// A new flow to it makes an alert.
    pub alert: bool,
    /// The rule is that of the management networks.
    pub keep: bool,
}

/// A rule's number and above it its [`Ruling`]: of two the one that overrides is the greater in the upper half.
#[derive(Clone, Copy)]
struct Applied(u32);

impl Applied {
    const NONE: Self = Self(0);

    #[inline(always)]
    const fn by(row: &RuleRow) -> Self {
        Self((row.action as u32) << 16 | row.rule as u32)
    }

    #[inline(always)]
    const fn ruling(self) -> u32 {
        self.0 >> 16
    }
}

impl Classified {
    #[inline(always)]
    const fn of(number: u32, class: &ClassRow, applied: Applied) -> Self {
        let ruling = applied.ruling();
        let (denied, alerted) =
            if ruling == 0 { (class.deny, class.alert) } else { ((ruling == DENY) as u8, (ruling == DENY) as u8) };
        Self {
            class: number as u16,
            rule: applied.0 as u16,
            deny: denied != 0,
            alert: alerted != 0,
            keep: ruling == Ruling::Keep as u32,
        }
    }

    /// How strict: denied, alerted of, let through by a rule, allowed.
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

const DENY: u32 = Ruling::Deny as u32;

/// The class number of an IPv4 address; `None` if the image is not whole.
#[inline(always)]
pub fn class_v4(tables: &impl Tables, address: u32) -> Option<u32> {
    let bucket = tables.v4_bucket(address >> 16)?;
    let (mut low, mut high) = ((bucket >> 32) as u32, bucket as u32);
    for _ in 0..V4_STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low + 1) >> 1);
        if (tables.v4_entry(middle)? >> 32) as u32 <= address {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(tables.v4_entry(low)? as u32)
}

/// 1 if `a < b`, else 0: the borrow of `a - b`, without a branch. The BPF target has no compare-and-set, and eight
/// branches a node are 256 ways through it, which the verifier would walk one by one.
#[inline(always)]
const fn less(a: u64, b: u64) -> u32 {
    (((!a & b) | ((!a | b) & a.wrapping_sub(b))) >> 63) as u32
}

/// The class number of an IPv6 address; `None` if the image is not whole.
#[inline(always)]
pub fn class_v6(tables: &impl Tables, address: Address) -> Option<u32> {
    let nodes = tables.v6_nodes();
    let (mut node, mut best_node, mut best_slot) = (0_u32, 0_u32, 0_u32);
    for _ in 0..V6_LEVELS {
        if node >= nodes {
            break;
        }
        let keys = &tables.v6_node(node)?.keys;
        let mut below = 8_u32;
        for key in keys {
            below -= less(address.high, *key);
        }
        if below > 0 {
            best_node = node;
            best_slot = below - 1;
        }
        node = node * 9 + 1 + below;
    }
    let value = tables.v6_values(best_node)?.values[(best_slot & 7) as usize];
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
    Some(tables.v6_low(low)?.class)
}

/// The rule of this class that decides a packet. Rows are tried in order: the compiler has put the most specific first.
/// Without a port, rows for some ports of a protocol cover nothing.
#[inline(always)]
fn matching_rule(tables: &impl Tables, class: &ClassRow, protocol: u8, port: Option<u16>) -> Option<Applied> {
    for i in 0..MAX_RULES_PER_CLASS {
        if i >= class.rules_len {
            break;
        }
        let row = tables.rule(class.rules_start + i)?;
        let covers = row.protocol == 0
            || (row.protocol == protocol
                && match port {
                    Some(port) => row.port_low <= port && port <= row.port_high,
                    None => row.port_low == 0 && row.port_high == u16::MAX,
                });
        if covers {
            if row.always() {
                return Some(Applied::by(row));
            }
            let now = tables.boot_ns();
            if row.not_before_ns <= now && now < row.expires_ns {
                return Some(Applied::by(row));
            }
        }
    }
    Some(Applied::NONE)
}

/// What a class comes to by itself, whatever IPv4 address its addresses carry. `None` as for [`classify`].
#[cfg(feature = "user")]
#[must_use]
pub fn standing(tables: &impl Tables, number: u32, protocol: u8, port: Option<u16>) -> Option<Classified> {
    let class = tables.class(number)?;
    Some(Classified::of(number, class, matching_rule(tables, class, protocol, port)?))
}

/// The IPv4 address that an IPv6 address with an ISATAP interface identifier ends up at (RFC 5214 6.1).
#[must_use]
#[inline(always)]
pub const fn isatap(address: Address) -> Option<u32> {
    if (address.low >> 32) as u32 & !0x0200_0000 == 0x5efe { Some(address.low as u32) } else { None }
}

/// The destination's whole standing, an IPv4 address inside an IPv6 one included. Without a port no rule for some ports
/// covers it. `None` only if the image is not whole, which its build excludes.
#[inline(always)]
pub fn classify(
    tables: &impl Tables,
    ip_version: u8,
    destination: Address,
    protocol: u8,
    port: Option<u16>,
) -> Option<Classified> {
    let number =
        if ip_version == 4 { class_v4(tables, destination.low as u32)? } else { class_v6(tables, destination)? };
    let class = tables.class(number)?;
    let inner = match class.embedded {
        0 if ip_version == 4 => None,
        0 => isatap(destination),
        form => Embedded::from_wire(form).extract(destination),
    };
    let Some(inner) = inner else {
        return Some(Classified::of(number, class, matching_rule(tables, class, protocol, port)?));
    };
    // Both looked up before any rule is tried: each way out of the rules would else be walked on through the look-up.
    let inner_number = class_v4(tables, tables.forget(inner))?;
    let inner = tables.class(inner_number)?;
    let applied = Applied(tables.forget(matching_rule(tables, class, protocol, port)?.0));
    let inner_applied = Applied(tables.forget(matching_rule(tables, inner, protocol, port)?.0));
    if class.embedded == 0 {
        // ISATAP: where it goes and where it ends up, each with rules of its own; the stricter.
        let outer = Classified::of(number, class, applied);
        let inside = Classified::of(inner_number, inner, inner_applied);
        return Some(if !outer.keep && inside.rank() > outer.rank() { inside } else { outer });
    }
    // The prefix is no place, the address inside is. Rules on either hold, and the stricter where both have one. But
    // loopback or link-local inside a prefix that is routed would be let through unseen, and the packet does leave the
    // link: it keeps the standing of the prefix, and a rule inside can only deny.
    let local = inner.kind == Kind::Local as u8;
    let by_inner = inner_applied.ruling() > applied.ruling() && (!local || inner_applied.ruling() == DENY);
    let applied = if by_inner { inner_applied } else { applied };
    Some(if local { Classified::of(number, class, applied) } else { Classified::of(inner_number, inner, applied) })
}
