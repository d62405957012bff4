//! Why a packet has no flow. Numbers and names are stable: they are metric labels and stand in reports.

/// Why a packet is counted without a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Link-scope control (ARP, LLDP, STP, LACP, EAPOL…): never routed, always passed.
    LinkControl = 0,
    /// An EtherType that is neither IP nor known link-scope control.
    NotIp = 1,
    /// The device has a link layer that the parser does not know.
    UnknownLink = 2,
    /// The frame ends inside its link header or VLAN tags.
    TruncatedLink = 3,
    /// More VLAN tags than the parser follows.
    VlanDepth = 4,
    /// The frame ends inside the IP header.
    TruncatedIp = 5,
    /// The version in the IP header is not the one the link header announced, or neither 4 nor 6.
    BadIpVersion = 6,
    /// IPv4 header length below five words, or total length below the header's.
    BadIpLength = 7,
    /// The frame ends inside an IPv6 extension header.
    TruncatedExtension = 8,
    /// More IPv6 extension headers than the parser follows.
    ExtensionDepth = 9,
    /// The packet ends before the transport header's ports.
    TruncatedTransport = 10,
    /// The policy image had no answer: a defect of ours, never expected.
    NotClassified = 11,
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: u32 = 12;

    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::LinkControl,
        Self::NotIp,
        Self::UnknownLink,
        Self::TruncatedLink,
        Self::VlanDepth,
        Self::TruncatedIp,
        Self::BadIpVersion,
        Self::BadIpLength,
        Self::TruncatedExtension,
        Self::ExtensionDepth,
        Self::TruncatedTransport,
        Self::NotClassified,
    ];

    /// The metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LinkControl => "link_control",
            Self::NotIp => "not_ip",
            Self::UnknownLink => "unknown_link",
            Self::TruncatedLink => "truncated_link",
            Self::VlanDepth => "vlan_depth",
            Self::TruncatedIp => "truncated_ip",
            Self::BadIpVersion => "bad_ip_version",
            Self::BadIpLength => "bad_ip_length",
            Self::TruncatedExtension => "truncated_extension",
            Self::ExtensionDepth => "extension_depth",
            Self::TruncatedTransport => "truncated_transport",
            Self::NotClassified => "not_classified",
        }
    }

    /// Whether more bytes might have told more: the headers may lie outside the linear part.
    #[must_use]
    #[inline(always)]
    pub const fn is_truncation(self) -> bool {
        matches!(self, Self::TruncatedLink | Self::TruncatedIp | Self::TruncatedExtension | Self::TruncatedTransport)
    }

    /// Whether the packet passes whatever the fail mode.
    #[must_use]
    #[inline(always)]
    pub const fn always_passes(self) -> bool {
        matches!(self, Self::LinkControl)
    }
}
