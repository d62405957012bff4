//! Where networks are, and what may go there: `[zone]`, `[geo]`, `[[site]]`.

use monitor_common::{parse::Reason, wire::Opaque};

use super::{Absent, Key, Kind, Section};

/// `[zone]`.
pub static ZONE: Section = Section::new(
    "zone",
    "[zone]",
    "What counts as inside, and what enforce does with each kind of destination.",
    &[
        zone::NAME,
        zone::INSIDE,
        zone::ON_OUTSIDE,
        zone::ON_AMBIGUOUS,
        zone::ON_UNKNOWN,
        zone::ON_PRIVATE,
        zone::ON_LINK_LOCAL,
        zone::ON_OPAQUE,
        Key::table(&OPAQUE),
        zone::ON_UNDECODABLE,
        Key::table(&UNDECODABLE),
        zone::NAT64,
    ],
);

/// The keys of `[zone]`.
pub mod zone {
    use super::*;

    /// Its name.
    pub const NAME: Key = Key::new("name", Kind::NAME, Absent::Value(r#""eea""#), "stands in metrics and alerts")
        .shown(r#""eu-user-data""#);
    /// The region.
    pub const INSIDE: Key = Key::new(
        "inside",
        Kind::As(r#"countries and regions in quotes, such as "EEA + CH""#),
        Absent::Value(r#""EEA""#),
        "ISO 3166-1 codes or names of countries, EU, EEA, EFTA, ADEQUATE, private; + and -",
    )
    .shown(r#""EEA + CH + GB""#);
    /// What every source that knows it places outside.
    pub const ON_OUTSIDE: Key =
        on("on_outside", r#""deny""#, "every source that knows the destination places it outside");
    /// What the sources disagree about.
    pub const ON_AMBIGUOUS: Key =
        on("on_ambiguous", r#""deny""#, "not every source places the destination inside, though one does");
    /// What no source places.
    pub const ON_UNKNOWN: Key =
        on("on_unknown", r#""deny""#, "no source places the destination, or it is a special range without a [[site]]");
    /// Private networks.
    pub const ON_PRIVATE: Key =
        on("on_private", r#""allow""#, "private networks (RFC 1918, fc00::/7) that no [[site]] places");
    /// IPv4 that no router should forward.
    pub const ON_LINK_LOCAL: Key =
        on("on_link_local", r#""deny""#, "169.254.0.0/16, which some gateways forward; fe80::/10 is always allowed");
    /// Content that cannot be read.
    pub const ON_OPAQUE: Key = on(
        "on_opaque",
        r#""allow""#,
        "flows whose content cannot be read (ESP, WireGuard, QUIC…): \"allow\" goes by their destination, \"deny\" denies them unless a rule allows them",
    );
    /// What could not be read.
    pub const ON_UNDECODABLE: Key =
        on("on_undecodable", r#""deny""#, "unparsed packets, which could not be read to their end");
    /// Translators.
    pub const NAT64: Key = Key::new(
        "nat64",
        Kind::List {
            whole: r#"prefixes such as ["64:ff9b:1::/96"], or leave the key out"#,
            each: "a prefix in quotes",
        },
        Absent::Means("none"),
        "prefixes of NAT64 translators besides 64:ff9b::/96: what goes there goes to the IPv4 address inside",
    )
    .shown(r#"["2001:db8:64::/96"]"#);

    const fn on(name: &'static str, absent: &'static str, help: &'static str) -> Key {
        Key::new(name, Kind::ACTION, Absent::Value(absent), help)
    }
}

/// `[zone.opaque]`.
pub static OPAQUE: Section = Section {
    more: "wireguard = \"allow\"\n",
    ..Section::new(
        "opaque",
        "[zone.opaque]",
        "Another action for single kinds of content that cannot be read.",
        &opaque::KEYS,
    )
};

/// The keys of `[zone.opaque]`.
pub mod opaque {
    use super::*;

    /// One for each mark, in their order.
    pub static KEYS: [Key; Opaque::MARKS.len()] = {
        let mut keys = [zone::ON_OPAQUE.hidden(); Opaque::MARKS.len()];
        let mut at = 0;
        while at < keys.len() {
            let (mark, name) = Opaque::MARKS[at];
            keys[at].name = name;
            keys[at].help = mark.meaning();
            keys[at].absent = Absent::Means("as `on_opaque`");
            at += 1;
        }
        keys
    };
}

/// `[zone.undecodable]`.
pub static UNDECODABLE: Section = Section {
    more: "macsec = \"deny\"\n",
    ..Section::new(
        "undecodable",
        "[zone.undecodable]",
        "Another action for single reasons why a packet could not be read.",
        &undecodable::KEYS,
    )
};

/// The keys of `[zone.undecodable]`.
pub mod undecodable {
    use super::*;

    /// One for each reason, in the order of the reasons.
    pub static KEYS: [Key; Reason::ALL.len()] = {
        let mut keys = [zone::ON_UNDECODABLE.hidden(); Reason::ALL.len()];
        let mut at = 0;
        while at < keys.len() {
            let reason = Reason::ALL[at];
            keys[at].name = reason.name();
            keys[at].help = reason.meaning();
            keys[at].absent = Absent::Means(if reason.always_passes() {
                "always passes"
            } else if reason.passes_by_default() {
                "`\"allow\"`, and the finding of that name"
            } else {
                "as `on_undecodable`"
            });
            at += 1;
        }
        keys
    };
}

/// `[geo]`.
pub static GEO: Section = Section::new(
    "geo",
    "[geo]",
    "What says where an address is.",
    &[geo::SOURCES, geo::OVERLAYS, geo::ASN, geo::INCOMING, geo::KEYS],
);

/// The keys of `[geo]`.
pub mod geo {
    use super::*;

    /// Datasets.
    pub const SOURCES: Key = Key::new(
        "sources",
        Kind::List { whole: r#"a list such as ["embedded"]"#, each: r#""embedded" or a file name in quotes"# },
        Absent::Value(r#"["embedded"]"#),
        r#""embedded" is two datasets; files: .mmdb, .csv, .egm. Inside is what all of them place inside"#,
    );
    /// Lists that know better.
    pub const OVERLAYS: Key = Key::new(
        "overlays",
        Kind::List { whole: r#"a list such as ["geo/aws.json"]"#, each: "a file name or glob in quotes" },
        Absent::Means("none"),
        "lists that know better than the sources: region lists, geofeeds, anycast. A glob may match nothing",
    )
    .commented(r#"["geo/aws.json"]"#);
    /// Autonomous systems.
    pub const ASN: Key = Key::new(
        "asn",
        Kind::FILE,
        Absent::Means("none"),
        "who announces which network, for rules on AS numbers and for alerts",
    )
    .commented(r#""geo/asn.csv""#);
    /// Where fresh files are dropped.
    pub const INCOMING: Key = Key::new(
        "incoming",
        Kind::PATH,
        Absent::Means("none"),
        "where your fetcher drops fresh files for `geo stage`, each under the name of the file that it is to replace",
    )
    .commented(r#""/srv/geo""#);
    /// Who signs fresh files.
    pub const KEYS: Key = Key::new(
        "keys",
        Kind::List { whole: r#"a list such as ["geo/publisher.pub"]"#, each: "a file name in quotes" },
        Absent::Means("none: NAME.sha256 beside each file"),
        "minisign public keys: `geo stage` takes what one of them has signed (NAME.minisig)",
    )
    .commented(r#"["geo/publisher.pub"]"#);
}

/// `[[site]]`.
pub static SITE: Section = Section {
    more: r#"
[[site]]
name = "singapore"
country = "SG"
networks = ["10.64.0.0/10"]
"#,
    ..Section::new(
        "site",
        "[[site]]",
        "Where networks of your own are: private ones, and public ones that the datasets get wrong. Overrides the \
         datasets.",
        &[site::NAME, site::COUNTRY, site::NETWORKS],
    )
};

/// The keys of `[[site]]`.
pub mod site {
    use super::*;

    /// Its name.
    pub const NAME: Key =
        Key::new("name", Kind::NAME, Absent::Refused(r#""dublin-1""#), "different for each site").shown(r#""dublin""#);
    /// Where it is.
    pub const COUNTRY: Key = Key::new(
        "country",
        Kind::As("an ISO 3166-1 code in quotes"),
        Absent::Refused(r#""CODE", the ISO 3166-1 code of where its networks are"#),
        "where it is",
    )
    .shown(r#""IE""#);
    /// Its networks.
    pub const NETWORKS: Key = Key::new(
        "networks",
        Kind::List { whole: r#"networks such as ["10.64.0.0/10", "2001:db8:5::/48"]"#, each: "a network in quotes" },
        Absent::Refused(r#"["NETWORK"], which are those of the site"#),
        "no network may be in two sites",
    )
    .shown(r#"["10.32.0.0/12", "2001:db8:1::/48"]"#);
}
