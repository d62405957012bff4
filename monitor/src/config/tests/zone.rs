//! The zone and the sites: regions, networks, translators, what can not be read.

use super::*;

#[test]
fn each_reason_takes_its_own_action_and_the_others_the_default() {
    for default in ["allow", "deny"] {
        let other = if default == "allow" { "deny" } else { "allow" };
        for reason in Reason::ALL.into_iter().filter(|reason| !reason.always_passes()) {
            let text = format!("[zone]\non_undecodable = \"{default}\"\nundecodable.{} = \"{other}\"", reason.name());
            let zone = good(&text).spec.zone;
            for of in Reason::ALL {
                let by_default = default == "deny" && !of.passes_by_default();
                let denied = !of.always_passes() && if of == reason { other == "deny" } else { by_default };
                assert_eq!(zone.on_reason(of) == Action::Deny, denied, "{} in {text}", of.name());
            }
        }
    }
}

#[test]
fn a_reason_that_is_unknown_or_can_not_be_denied_is_refused() {
    refused(
        "[zone.undecodable]\nnot_pi = \"allow\"",
        "config.toml:2: unknown key 'not_pi' in [zone.undecodable]: did you mean 'not_ip'?",
    );
    refused("[zone.undecodable]\nmpls = \"drop\"", "config.toml:2: invalid value 'drop': write \"allow\" or \"deny\"");
    refused(
        "[zone]\nundecodable = \"allow\"",
        "config.toml:2: 'undecodable' is the string 'allow': write a table headed [zone.undecodable]",
    );
    refused(
        "[zone.undecodable]\nlink_control = \"deny\"",
        "config.toml:2: 'link_control' can't be denied: without ARP and its like the host has no neighbours: remove the key",
    );
    assert_eq!(
        good("[zone.undecodable]\nlink_control = \"allow\"").spec.zone.on_reason(Reason::LinkControl),
        Action::Allow
    );
}

#[test]
fn the_documented_reasons_are_those_that_there_are() {
    let document = include_str!("../../../../docs/policy.md");
    let mut table = String::from("| reason | is | by default, when enforcing |\n|---|---|---|\n");
    for reason in Reason::ALL {
        let action = match Zone::default().on_reason(reason) {
            Action::Deny => "deny",
            Action::Allow if reason.always_passes() => "always passes",
            Action::Allow => "allow",
        };
        table += &format!("| `{}` | {} | {action} |\n", reason.name(), reason.meaning());
    }
    let (_, rest) = document.split_once("| reason |").expect("the table is there");
    let (found, _) = rest.split_once("\n\n").expect("it ends");
    assert_eq!(format!("| reason |{found}\n"), table);
}

#[test]
fn a_nat64_prefix_is_ipv6_and_of_a_length_that_the_standard_knows() {
    let of = |prefix: &str| format!("[zone]\nnat64 = [\n\"{prefix}\"]");
    for length in 0..=128_u8 {
        let text = format!("::/{length}");
        if [32, 40, 48, 56, 64, 96].contains(&length) {
            assert_eq!(good(&of(&text)).spec.zone.nat64[0].0.to_string(), text);
        } else {
            refused(
                &of(&text),
                &format!(
                    "config.toml:3: '::/{length}' has a length that no translator uses: write the prefix with 32, 40, 48, \
                     56, 64 or 96 bits (RFC 6052)"
                ),
            );
        }
    }
    refused(
        &of("192.0.2.0/24"),
        "config.toml:3: '192.0.2.0/24' is IPv4: write the IPv6 prefix that the translator answers for, such as \
         64:ff9b:1::/96",
    );
    refused(
        &of("64:ff9b::1/96"),
        "config.toml:3: '64:ff9b::1/96' has host bits set: write 64:ff9b::/96, or 64:ff9b::1/128 for the one address",
    );
    refused(
        "[zone]\nnat64 = []",
        "config.toml:2: 'nat64' is empty: write prefixes such as [\"64:ff9b:1::/96\"], or leave the key out",
    );
}

#[test]
fn a_region_that_is_none_is_refused_with_its_line() {
    refused(
        "[zone]\ninside = \"EEA + US\"",
        "config.toml:2: 'US' can't be inside beside EEA by address: the US adequacy decision covers certified companies, not \
         networks: remove it and name each permitted transfer in an [[allow]] rule",
    );
    refused(
        "[zone]\ninside = \"EEA + QQ\"",
        "config.toml:2: 'QQ' is no country or region: write an ISO 3166-1 code such as 'DE', a country's name, EU, EEA, EFTA, \
         ADEQUATE, or 'private'",
    );
    refused(
        "[[site]]\nname = \"a\"\ncountry = \"UK\"\nnetworks = [\"10.0.0.0/8\"]",
        "config.toml:3: 'UK' is not the ISO 3166-1 code: write 'GB'",
    );
}

#[test]
fn networks_with_something_wrong_say_what_to_write() {
    let site = |network: &str| format!("[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetworks = [\n  \"{network}\",\n]");
    let example = "write an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/32";
    for network in ["10.0.0/8", "localhost/8", "", "10.0.0.0.0/8", "fe80::1%eth0/64", "1:2/3"] {
        refused(&site(network), &format!("config.toml:5: '{network}' is no network: {example}"));
    }
    for network in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/255.0.0.0", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8/8"] {
        refused(&site(network), &format!("config.toml:5: '{network}' has no prefix length of 0 to 32: {example}"));
    }
    refused(
        &site("2001:db8::/129"),
        &format!("config.toml:5: '2001:db8::/129' has no prefix length of 0 to 128: {example}"),
    );
    refused(
        &site("10.0.0.1/8"),
        "config.toml:5: '10.0.0.1/8' has host bits set: write 10.0.0.0/8, or 10.0.0.1/32 for the one address",
    );
    refused(
        &site("2001:db8::1/32"),
        "config.toml:5: '2001:db8::1/32' has host bits set: write 2001:db8::/32, or 2001:db8::1/128 for the one address",
    );
}

#[test]
fn sites_that_claim_the_same_network_are_refused_with_both_lines() {
    let text = "[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetworks = [\"10.64.0.0/10\", \"10.64.0.0/12\"]\n\
                [[site]]\nname = \"b\"\ncountry = \"IE\"\nnetworks = [\n\"10.80.0.0/16\",\n\"11.0.0.0/8\"]";
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:?}");
    // The origins hold the whole path.
    assert!(
        found[0]
            .starts_with("config.toml:9: network '10.80.0.0/16' of site 'b' overlaps '10.64.0.0/10' of site 'a' at ")
    );
    assert!(found[0].ends_with("config.toml:4: leave it in one of them"), "{found:?}");
    good(
        "[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetworks = [\"10.64.0.0/10\"]\n[[site]]\nname = \"b\"\ncountry = \"IE\"\nnetworks = [\"10.128.0.0/10\", \"::/0\"]",
    );
}
