//! Why a packet has no flow. Numbers and names are stable: they are metric labels and in reports.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $number:literal $name:literal,)+) => {
        /// Why a packet is counted without a flow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason = $number,)+
        }

        impl Reason {
            /// All reasons, in the order of their numbers.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$reason),+];

            /// The metric label, and the key in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }

            /// What it means, in one sentence for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$reason => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    /// Link-scope control (ARP, RARP, LLDP, LACP, STP, EAPOL, CDP, MRP, PTP…), by its form: never routed, always passed.
    LinkControl = 0 "link_control",
    /// An EtherType that is neither IP nor known link-scope control.
    NotIp = 1 "not_ip",
    /// The device has a link layer that the parser does not know.
    UnknownLink = 2 "unknown_link",
    /// The frame ends inside its link header or VLAN tags.
    TruncatedLink = 3 "truncated_link",
    /// More VLAN tags than the three that are followed.
    VlanDepth = 4 "vlan_depth",
    /// The packet ends inside the IP header.
    TruncatedIp = 5 "truncated_ip",
    /// The version in the IP header is not the one announced before it, or neither 4 nor 6.
    BadIpVersion = 6 "bad_ip_version",
    /// A length in the IP header that contradicts itself: an IPv4 header below five words or beyond the packet, a fragment that is empty, not in units of eight bytes or past 65,535, a jumbo payload that isn't one.
    BadIpLength = 7 "bad_ip_length",
    /// The packet ends inside an IPv6 extension header or an authentication header.
    TruncatedExtension = 8 "truncated_extension",
    /// More extension headers after one IP header than the eight that are followed.
    ExtensionDepth = 9 "extension_depth",
    /// The packet ends before the transport header's ports.
    TruncatedTransport = 10 "truncated_transport",
    /// The policy image had no answer: a defect of ours, never expected.
    NotClassified = 11 "not_classified",
    /// MPLS (RFC 3032) right after the link header: routable, not IP.
    Mpls = 12 "mpls",
    /// PPPoE (RFC 2516), discovery or session: routable, not IP.
    Pppoe = 13 "pppoe",
    /// Provider backbone bridging (IEEE 802.1ah): routable, not IP.
    Pbb = 14 "pbb",
    /// A network service header (RFC 8300): routable, not IP.
    Nsh = 15 "nsh",
    /// MACsec (IEEE 802.1AE): what the frame carries is not readable.
    Macsec = 16 "macsec",
    /// The IP header announces more bytes than there are.
    LengthBeyondFrame = 17 "length_beyond_frame",
    /// IPv4 options that contradict themselves: a length of 0 or 1, past the header, a source route whose pointer is off.
    BadOptions = 18 "bad_options",
    /// An IPv6 routing header whose addresses are not where it says, or of a type that nobody can follow with segments left.
    BadRouting = 19 "bad_routing",
    /// The packet ends inside a tunnel's header.
    TruncatedTunnel = 20 "truncated_tunnel",
    /// A tunnel header of a version or with fields that are not followed.
    BadTunnel = 21 "bad_tunnel",
    /// More IP headers inside each other, further destinations or steps than are followed.
    TooDeep = 22 "too_deep",
    /// A first fragment that ends before the ports, or before all headers that tell where it ends up.
    FragmentShort = 23 "fragment_short",
    /// A fragment that begins before the end of what its datagram has sent already: overlapping, repeated or out of order.
    FragmentOverlap = 24 "fragment_overlap",
    /// A fragment after the first, whose first never came or was not understood.
    FragmentWithoutFirst = 25 "fragment_without_first",
    /// Announced as link-scope control, but not of its form: another destination, length or version than the protocol has.
    LinkControlOdd = 26 "link_control_odd",
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// The reason with this number.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The bit in [`crate::wire::PolicyMeta::drop_reasons`].
    #[must_use]
    #[inline(always)]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Whether more bytes might help: the headers may lie outside the linear part.
    #[must_use]
    #[inline(always)]
    pub const fn is_truncation(self) -> bool {
        matches!(
            self,
            Self::TruncatedLink
                | Self::TruncatedIp
                | Self::TruncatedExtension
                | Self::TruncatedTransport
                | Self::TruncatedTunnel
        )
    }

    /// Whether the packet passes, and is told of, unless the operator denies it by name: a link might break by it.
    #[must_use]
    #[inline(always)]
    pub const fn passes_by_default(self) -> bool {
        matches!(self, Self::LinkControlOdd)
    }

    /// Whether packets without a flow for this reason are an incident. Link-scope control is none, and odd forms of it are a
    /// finding.
    #[must_use]
    #[inline(always)]
    pub const fn alerts(self) -> bool {
        !self.always_passes() && !self.passes_by_default()
    }

    /// Whether the packet passes whatever the fail mode: without its neighbours a host is cut off.
    #[must_use]
    #[inline(always)]
    pub const fn always_passes(self) -> bool {
        matches!(self, Self::LinkControl)
    }
}

const _: () = {
    let mut at = 0;
    while at < Reason::ALL.len() {
        assert!(Reason::ALL[at] as usize == at, "reasons are numbered from 0 without a gap");
        at += 1;
    }
    assert!(Reason::COUNT <= 64, "one bit each in drop_reasons");
};
