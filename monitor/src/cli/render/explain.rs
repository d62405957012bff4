//! The documents of `egress-monitor explain` in, its text out.

use crate::cli::output::{cells, table};
use monitor_api::explain::{AddressInfo, Explanation, Network};
use monitor_policy::text::count;

/// What the policy makes of one destination.
pub fn explanation(story: &Explanation) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut line = |name: &str, value: String| rows.push(vec![format!("  {name}"), value]);
    line("country", story.country.clone());
    line("class", format!("{} (by {})", story.class, story.basis));
    line("reason", story.reason.clone());
    address(&story.destination, &mut line);
    if let Some(inner) = &story.embedded {
        line("carries", inner.address.to_string());
        address(inner, &mut line);
    }
    if let Some(inner) = &story.isatap {
        line("carries", format!("{} (ISATAP)", inner.address));
        address(inner, &mut line);
    }
    for rule in &story.rules {
        let applies = if rule.applies { "applies" } else { "does not apply" };
        line("rule", format!("'{}' {applies}: {}; covers {}", rule.id, rule.why, rule.network));
    }
    line("observe", format!("{}{}", story.observe, if story.alert { ", with an alert" } else { "" }));
    line("enforce", story.enforce.to_owned());
    line("policy", story.policy.clone());
    let port = story.port.map_or_else(String::new, |port| format!(" port {port}"));
    let protocol = story.protocol.as_ref().map_or_else(String::new, |protocol| format!(" {protocol}"));
    format!("{}{protocol}{port}\n{}", story.destination.address, table(0, &rows, &[]))
}

fn address(info: &AddressInfo, line: &mut impl FnMut(&str, String)) {
    let of = |name: &str, built: &Option<String>| match built {
        Some(built) => format!("{name} ({})", built.split('T').next().unwrap_or(built)),
        None => name.to_owned(),
    };
    for says in &info.overlays {
        let country = says.country.as_deref().unwrap_or("location undetermined");
        line("overlay", format!("{}: {country} for {}", of(&says.overlay, &says.built), says.range));
    }
    for says in &info.sources {
        let what = match (&says.country, &says.range) {
            (Some(country), Some(range)) => format!("{country} for {range}"),
            // Where a registry says what the range is for, silence is what is expected.
            _ if info.special.is_some() || info.nat64.is_some() => continue,
            _ => "nothing".into(),
        };
        line("source", format!("{}: {what}", of(&says.source, &says.built)));
    }
    if let Some(announcer) = &info.announcer {
        line("as", format!("AS{} {}", announcer.number, announcer.name).trim_end().to_owned());
    }
    if let Some(special) = &info.special {
        line("special", format!("{}: {} ({})", special.network, special.name, special.standard));
    }
    if let Some(nat64) = &info.nat64 {
        line("nat64", format!("{} ({})", nat64.network, nat64.origin));
    }
    if let Some(site) = &info.site {
        line("site", format!("'{}' in {}: {} ({})", site.name, site.country, site.network, site.origin));
    }
}

/// What a network is made of.
pub fn network((network, parts): &Network) -> String {
    let mut rows = vec![cells(&["  country", "class", "addresses", "from", "enforce", "rules"])];
    for part in parts {
        let (first, rules) = (part.first.to_string(), part.rules.join(", "));
        // `2^128` is no number.
        let addresses = part.addresses.parse::<u128>().map_or_else(|_| part.addresses.clone(), count);
        rows.push(cells(&[&format!("  {}", part.country), part.class, &addresses, &first, part.enforce, &rules]));
    }
    format!("{network}\n{}", table(0, &rows, &[2]))
}
