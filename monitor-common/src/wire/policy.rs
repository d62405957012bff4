//! The compiled policy as the kernel reads it.

/// What the policy takes an address for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum Class {
    /// No source knows it.
    Unknown = 0,
    /// Every source places it inside the region.
    Inside = 1,
    /// Every source places it outside.
    Outside = 2,
    /// Sources place it on different sides of the border.
    Ambiguous = 3,
    /// RFC 1918 and unique local addresses of which no site of ours says where they are.
    Private = 4,
    /// Never leaves the link or the host: loopback, link-scope multicast, broadcast, multicast on its last link.
    Local = 5,
    /// 169.254.0.0/16, which some gateways forward, and fe80::/10.
    #[cfg_attr(feature = "user", serde(rename = "link-local"))]
    LinkLocal = 6,
}

impl Class {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Unknown, Self::Inside, Self::Outside, Self::Ambiguous, Self::Private, Self::Local, Self::LinkLocal];

    /// The class with this number; an unknown number is [`Class::Unknown`].
    #[must_use]
    #[inline(always)]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::Inside,
            2 => Self::Outside,
            3 => Self::Ambiguous,
            4 => Self::Private,
            5 => Self::Local,
            6 => Self::LinkLocal,
            _ => Self::Unknown,
        }
    }

    /// Whether its addresses mean something on this link or host only: no site places them, and where one stands inside
    /// an IPv6 address, that is not where the packet goes.
    #[must_use]
    #[inline(always)]
    pub const fn stays(self) -> bool {
        matches!(self, Self::Local | Self::LinkLocal)
    }

    /// The name used in metrics, flows and alerts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Ambiguous => "ambiguous",
            Self::Private => "private",
            Self::Local => "local",
            Self::LinkLocal => "link-local",
        }
    }
}

/// Where an IPv6 prefix carries the IPv4 address that the packet ends up at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Embedded {
    /// It carries none.
    None = 0,
    /// The last 32 bits: v4-mapped and v4-compatible (RFC 4291 2.5.5), NAT64 with a /96 (RFC 6052).
    Low32 = 1,
    /// Bits 16 to 47: 6to4, 2002::/16 (RFC 3056).
    SixToFour = 2,
    /// The last 32 bits inverted: Teredo client, 2001::/32 (RFC 4380).
    Teredo = 3,
    /// NAT64 with a prefix of 32 bits (RFC 6052 2.2): bits 32 to 63.
    Nat64Of32 = 4,
    /// Of 40 bits: bits 40 to 63 and 72 to 79. Bits 64 to 71 are never part of an address.
    Nat64Of40 = 5,
    /// Of 48 bits: bits 48 to 63 and 72 to 87.
    Nat64Of48 = 6,
    /// Of 56 bits: bits 56 to 63 and 72 to 95.
    Nat64Of56 = 7,
    /// Of 64 bits: bits 72 to 103.
    Nat64Of64 = 8,
}

impl Embedded {
    /// The form with this number; an unknown number carries none.
    #[must_use]
    #[inline(always)]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::Low32,
            2 => Self::SixToFour,
            3 => Self::Teredo,
            4 => Self::Nat64Of32,
            5 => Self::Nat64Of40,
            6 => Self::Nat64Of48,
            7 => Self::Nat64Of56,
            8 => Self::Nat64Of64,
            _ => Self::None,
        }
    }

    /// The form in which a NAT64 prefix of this many bits carries an address (RFC 6052 2.2); `None` for a length that
    /// the standard does not know.
    #[must_use]
    pub const fn nat64(prefix: u8) -> Option<Self> {
        match prefix {
            32 => Some(Self::Nat64Of32),
            40 => Some(Self::Nat64Of40),
            48 => Some(Self::Nat64Of48),
            56 => Some(Self::Nat64Of56),
            64 => Some(Self::Nat64Of64),
            96 => Some(Self::Low32),
            _ => None,
        }
    }

    /// The IPv4 address (host order) that `address` carries in this form.
    #[must_use]
    #[inline(always)]
    pub const fn extract(self, address: super::Address) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Low32 => Some(address.low as u32),
            Self::SixToFour => Some((address.high >> 16) as u32),
            Self::Teredo => Some(!(address.low as u32)),
            Self::Nat64Of32 => Some(address.high as u32),
            Self::Nat64Of40 => Some((address.high as u32) << 8 | (address.low >> 48) as u32 & 0xff),
            Self::Nat64Of48 => Some((address.high as u32) << 16 | (address.low >> 40) as u32 & 0xffff),
            Self::Nat64Of56 => Some((address.high as u32) << 24 | (address.low >> 32) as u32 & 0xff_ffff),
            Self::Nat64Of64 => Some((address.low >> 24) as u32),
        }
    }
}

/// A row of the class table: everything that the policy knows of an address. Rows are named by their number, the class
/// id; two rows of one [`Class`] differ in country or rules.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ClassRow {
    /// First of its rows in the rule table. The first that covers a packet decides.
    pub rules_start: u32,
    /// How many rows, at most [`super::MAX_RULES_PER_CLASS`].
    pub rules_len: u32,
    /// ISO 3166-1 alpha-2; `ZZ` when unknown, `--` where a country makes no sense.
    pub country: [u8; 2],
    /// A [`Class`] as its number.
    pub class: u8,
    /// 1: denied unless a rule says otherwise. 0: allowed.
    pub deny: u8,
    /// 1: a new flow raises an alert unless a rule allows it.
    pub alert: u8,
    /// An [`Embedded`] as its number. If not None, the row holds only the rules of the IPv6 prefix; everything else
    /// follows from the class row of the IPv4 address inside.
    pub embedded: u8,
    /// Always 0.
    pub _reserved: [u8; 2],
}

/// What a rule does to the packets that it decides. Ascending by precedence, for packets with two addresses that have a
/// rule each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RuleRowAction {
    /// No rule covers the packet.
    None = 0,
    /// It passes.
    Allow = 1,
    /// It is denied.
    Deny = 2,
    /// It passes whatever other rules say: a management network.
    Keep = 3,
}

/// A row of the rule table: one port range of one rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RuleRow {
    /// CLOCK_BOOTTIME nanoseconds from which the rule holds; 0: always has.
    pub not_before_ns: u64,
    /// CLOCK_BOOTTIME nanoseconds from which it no longer holds; `u64::MAX`: never.
    pub expires_ns: u64,
    /// First destination port; of [`RuleRow::KEEP_FROM`] the first source port.
    pub port_low: u16,
    /// Last one.
    pub port_high: u16,
    /// The rule's number, from 1.
    pub rule: u16,
    /// IANA protocol number; 0: any protocol and any port (the ports are then ignored).
    pub protocol: u8,
    /// A [`RuleRowAction`] as its number, never None; or [`RuleRow::KEEP_FROM`].
    pub action: u8,
}

impl RuleRow {
    /// [`RuleRowAction::Keep`] of what comes from the row's ports.
    pub const KEEP_FROM: u8 = 4;

    /// Whether the row holds at all times, so that no clock has to be read.
    #[must_use]
    #[inline(always)]
    pub const fn always(&self) -> bool {
        self.not_before_ns == 0 && self.expires_ns == u64::MAX
    }
}

/// A node of the address index: one line of a processor's cache, filled as [`crate::classify::node`] says.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Node {
    /// Lanes of 16 bits, the lowest first.
    pub words: [u64; 8],
}

/// An interval start below /64: the low half and its class id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct V6Low {
    /// Low 64 bits of the start.
    pub start: u64,
    /// Class id.
    pub class_id: u32,
    /// In the first row of a list, how many more there are; else 0.
    pub more: u32,
}

/// Where an image's tables start in the flat maps that hold both images.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct PolicyMeta {
    /// First node of IPv4.
    pub v4_base: u32,
    /// First node of IPv6.
    pub v6_base: u32,
    /// First row of the low-half lists.
    pub v6_low_base: u32,
    /// First rule row.
    pub rules_base: u32,
    /// Bit `n`: in enforce mode a packet with [`crate::parse::Reason`] `n` is dropped.
    pub drop_reasons: u64,
    /// The class row of what never leaves the link, without rules; `u32::MAX`: there is none.
    pub local_class: u32,
    /// Bit `n`: a flow of [`super::Opaque`] `n` is denied unless a rule allows it.
    pub opaque_denied: u32,
}
