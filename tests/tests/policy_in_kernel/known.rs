//! The policy, and what it makes of destinations, said by hand.

/// Sites that contradict the datasets, one of them below a /64, and rules of every kind.
pub(super) const SITES_AND_RULES: &str = r#"
[[site]]
name = "dublin"
country = "IE"
networks = ["10.32.0.0/12", "8.8.4.0/24", "2001:db8:1::/48", "2001:4860:4860::8844/128"]

[[site]]
name = "singapore"
country = "SG"
networks = ["10.64.0.0/10", "5.9.0.128/25", "2001:db8:4::/48"]

[[allow]]
id = "resolver"
to = ["8.8.8.8/32", "2001:4860:4860::8888/128"]
ports = ["udp/53", "tcp/853"]
reason = "a test"

[[allow]]
id = "not-yet"
to = ["8.8.8.0/24", "2001:4860::/32"]
reason = "a test"
not_before = 2098-01-01T00:00:00Z

[[allow]]
id = "migration"
to = ["10.64.8.0/24", "2001:db8:4:8::/64"]
reason = "a test"
expires = 2099-01-01T00:00:00Z

[[allow]]
id = "relay"
to = ["64:ff9b::/96", "2002::/16"]
ports = ["udp/4500-4510"]
reason = "a test"

[[deny]]
id = "telnet"
to = ["0.0.0.0/0", "::/0"]
ports = ["tcp/23"]
reason = "a test"

[[deny]]
id = "lab"
to = ["10.32.8.0/24"]
reason = "a test"

[[allow]]
id = "lab-ssh"
to = ["10.32.8.0/24"]
ports = ["tcp/22"]
reason = "a test"

[[deny]]
id = "ireland-sctp"
to = ["Ireland"]
ports = ["sctp"]
reason = "a test"

[management]
networks = ["10.32.8.7/32"]
ports = ["udp/161", "tcp/22"]
"#;

/// Those of them that deny.
pub(super) const DENYING: [&str; 3] = ["telnet", "lab", "ireland-sctp"];

/// Destination, country, class and rule, said by hand. The country is the first dataset's, by which 2001:4860:4860::/48
/// is in Canada; where a country makes no sense, it is `--`.
pub(super) const KNOWN: &[(&str, &str, &str, Option<&str>)] = &[
    ("8.8.8.8:54/udp", "US", "outside", None),
    ("5.9.0.1:443/tcp", "DE", "inside", None),
    ("[2a00:1450:4001::1]:443/tcp", "DE", "inside", None),
    ("[2001:4860:4860::8889]:443/tcp", "CA", "outside", None),
    // Rules: ports hit and missed, on both sides of a range.
    ("8.8.8.8:53/udp", "US", "outside", Some("resolver")),
    ("8.8.8.8:853/tcp", "US", "outside", Some("resolver")),
    ("8.8.8.8:53/tcp", "US", "outside", None),
    ("8.8.8.8:53/sctp", "US", "outside", None),
    ("8.8.8.8/esp", "US", "outside", None),
    ("8.8.8.8/icmp", "US", "outside", None),
    ("8.8.8.9:53/udp", "US", "outside", None),
    ("[2001:4860:4860::8888]:53/udp", "CA", "outside", Some("resolver")),
    ("2001:4860:4860::8888/ipv6-icmp", "CA", "outside", None),
    ("10.64.8.1:1/tcp", "SG", "outside", Some("migration")),
    ("10.64.8.255/icmp", "SG", "outside", Some("migration")),
    ("10.64.8.255/esp", "SG", "outside", Some("migration")),
    ("10.64.9.0:1/tcp", "SG", "outside", None),
    ("[2001:db8:4:8::1]:1/tcp", "SG", "outside", Some("migration")),
    ("[2001:db8:4:9::]:1/tcp", "SG", "outside", None),
    // Sites, against the datasets and below a /64.
    ("10.32.0.1:1/tcp", "IE", "inside", None),
    ("8.8.4.4:1/tcp", "IE", "inside", None),
    ("8.8.5.0:1/tcp", "US", "outside", None),
    ("5.9.0.127:1/tcp", "DE", "inside", None),
    ("5.9.0.128:1/tcp", "SG", "outside", None),
    ("[2001:4860:4860::8844]:1/tcp", "IE", "inside", None),
    ("[2001:4860:4860::8845]:1/tcp", "CA", "outside", None),
    ("[2001:db8:1::1]:1/tcp", "IE", "inside", None),
    // Private, local, multicast, reserved.
    ("10.1.2.3:443/tcp", "--", "private", None),
    ("192.168.255.255:1/udp", "--", "private", None),
    ("[fd00::1]:1/tcp", "--", "private", None),
    ("[2001:db8::1]:1/tcp", "--", "unknown", None),
    ("100.64.0.1:1/tcp", "--", "unknown", None),
    ("198.18.0.1:1/tcp", "--", "unknown", None),
    ("[5f00::1]:1/tcp", "--", "unknown", None),
    ("127.0.0.1:1/tcp", "--", "local", None),
    ("169.254.1.1:1/tcp", "--", "link-local", None),
    ("255.255.255.255:67/udp", "--", "local", None),
    ("224.0.0.251:5353/udp", "--", "local", None),
    ("239.1.1.1:1/udp", "--", "unknown", None),
    ("232.1.1.1:1/udp", "--", "unknown", None),
    ("240.0.0.1:1/udp", "--", "unknown", None),
    ("fe80::1/ipv6-icmp", "--", "link-local", None),
    ("ff02::1/ipv6-icmp", "--", "local", None),
    ("[ff0e::1]:1/udp", "--", "unknown", None),
    ("[4000:db8::2]:9/udp", "--", "unknown", None),
    // IPv4 inside IPv6: where the packet ends up decides; rules of the prefix and of the inner address both count.
    ("[64:ff9b::808:808]:54/udp", "US", "outside", None),
    ("[64:ff9b::808:808]:53/udp", "US", "outside", Some("resolver")),
    ("[64:ff9b::808:808]:4499/udp", "US", "outside", None),
    ("[64:ff9b::808:808]:4500/udp", "US", "outside", Some("relay")),
    ("[64:ff9b::808:808]:4510/udp", "US", "outside", Some("relay")),
    ("[64:ff9b::808:808]:4511/udp", "US", "outside", None),
    ("[64:ff9b::509:1]:54/udp", "DE", "inside", None),
    ("[64:ff9b::a01:203]:54/udp", "--", "private", None),
    ("[::ffff:8.8.8.8]:54/udp", "US", "outside", None),
    ("[::ffff:8.8.8.8]:53/udp", "US", "outside", Some("resolver")),
    ("[::ffff:5.9.0.1]:54/udp", "DE", "inside", None),
    ("[::8.8.8.8]:54/udp", "US", "outside", None),
    // What is local inside and yet is sent is not local.
    ("[::ffff:127.0.0.1]:54/udp", "--", "unknown", None),
    ("[64:ff9b::a9fe:a9fe]:80/tcp", "--", "unknown", None),
    ("[2002:808:808::1]:54/udp", "US", "outside", None),
    ("[2002:808:808::1]:4505/udp", "US", "outside", Some("relay")),
    ("[2002:509:1::1]:54/udp", "DE", "inside", None),
    ("[2001:0:1:2:3:4:f7f7:f7f7]:54/udp", "US", "outside", None),
    ("[2001:0:1:2:3:4:faf6:fffe]:54/udp", "DE", "inside", None),
    // The operator's own translators: each length of RFC 6052.
    ("[3fff:640:808:808::]:54/udp", "US", "outside", None),
    ("[3fff:640:509:1::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6408:808:8::]:54/udp", "US", "outside", None),
    ("[2001:db8:6405:900:1::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6500:808:8:800::]:54/udp", "US", "outside", None),
    ("[2001:db8:6500:509:0:100::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6600:5608:8:808::]:54/udp", "US", "outside", None),
    ("[2001:db8:6600:5605:9:1::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6700:64:8:808:800:0]:54/udp", "US", "outside", None),
    ("[2001:db8:6700:64:5:900:100:0]:54/udp", "DE", "inside", None),
    ("[2001:db8:64::808:808]:54/udp", "US", "outside", None),
    ("[2001:db8:64::509:1]:54/udp", "DE", "inside", None),
    ("[2001:db8:64::808:808]:53/udp", "US", "outside", Some("resolver")),
    ("[2001:db8:64::a01:203]:54/udp", "--", "private", None),
    // Beside the prefix nothing is translated.
    ("[2001:db8:64::1:808:808]:54/udp", "--", "unknown", None),
    // ISATAP: the stricter of the prefix and of the address inside; a rule is for the one it names.
    ("[2a00:1450:4001::5efe:808:808]:54/udp", "US", "outside", None),
    ("[2a00:1450:4001::200:5efe:808:808]:54/udp", "US", "outside", None),
    ("[2a00:1450:4001::5efe:808:808]:53/udp", "US", "outside", Some("resolver")),
    ("[2a00:1450:4001::5efe:509:1]:54/udp", "DE", "inside", None),
    ("[2001:4860:4860::5efe:509:1]:54/udp", "CA", "outside", None),
    ("[2001:db8:4:8::5efe:808:808]:54/udp", "US", "outside", None),
    ("[2001:db8:1::5efe:808:808]:54/udp", "US", "outside", None),
    ("[2001:db8:1::100:5efe:808:808]:54/udp", "IE", "inside", None),
    // Rules that deny, inside the region too; the narrower network, then the narrower ports.
    ("10.32.0.1:23/tcp", "IE", "inside", Some("telnet")),
    ("[2001:db8:1::1]:23/tcp", "IE", "inside", Some("telnet")),
    ("5.9.0.1:23/tcp", "DE", "inside", Some("telnet")),
    ("8.8.8.9:23/tcp", "US", "outside", Some("telnet")),
    ("127.0.0.1:23/tcp", "--", "local", Some("telnet")),
    ("10.64.8.1:23/tcp", "SG", "outside", Some("migration")),
    ("10.32.8.1:23/tcp", "IE", "inside", Some("lab")),
    ("10.32.8.1:1/udp", "IE", "inside", Some("lab")),
    ("10.32.8.1/icmp", "IE", "inside", Some("lab")),
    ("10.32.8.1:22/tcp", "IE", "inside", Some("lab-ssh")),
    ("10.32.7.255:1/sctp", "IE", "inside", Some("ireland-sctp")),
    ("8.8.4.4:1/sctp", "IE", "inside", Some("ireland-sctp")),
    ("5.9.0.1:1/sctp", "DE", "inside", None),
    // What is kept whatever other rules say.
    ("10.32.8.7:22/tcp", "IE", "inside", Some("management")),
    ("10.32.8.7:161/udp", "IE", "inside", Some("management")),
    ("10.32.8.7:162/udp", "IE", "inside", Some("lab")),
    ("10.32.8.8:161/udp", "IE", "inside", Some("lab")),
    // Of a prefix and the address inside the stricter rule, management above both.
    ("[64:ff9b::a20:801]:1/udp", "IE", "inside", Some("lab")),
    ("[64:ff9b::a20:801]:4500/udp", "IE", "inside", Some("lab")),
    ("[64:ff9b::a20:801]:22/tcp", "IE", "inside", Some("lab-ssh")),
    ("[64:ff9b::a20:807]:161/udp", "IE", "inside", Some("management")),
    ("[64:ff9b::808:808]:23/tcp", "US", "outside", Some("telnet")),
    ("[64:ff9b::a40:801]:23/tcp", "SG", "outside", Some("telnet")),
    ("[2001:db8:1::5efe:a20:801]:1/udp", "IE", "inside", Some("lab")),
    ("[2001:db8:1::5efe:a20:807]:161/udp", "IE", "inside", Some("management")),
];
