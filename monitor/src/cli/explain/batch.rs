//! Destinations on standard input, one a line, in; a line of output each out. For lists of a million: only the compiled
//! policy is asked, so what each source says is left to `explain` of a few.

use std::{
    io::{BufRead, BufWriter, Read as _, Write},
    net::IpAddr,
};

use crate::{config::inputs::Inputs, error::CliError};
use monitor_api::explain::{Line, NetworkPart};
use monitor_common::{
    classify::{classify, judge_content},
    parse::mark_of_destination,
    verdict::decide,
    wire::{Address, Class, RuleRow},
};
use monitor_policy::{Policy, Target, geo::Country};

/// More than this is no destination.
const LONGEST_LINE: u64 = 256;

/// The countries of the policy's classes, and where its rules stand, as text: none is made anew for each line.
struct Answers<'a> {
    policy: &'a Policy,
    countries: Vec<String>,
    /// Of the rules.
    origins: Vec<String>,
}

impl<'a> Answers<'a> {
    fn of(policy: &'a Policy) -> Self {
        Self {
            policy,
            countries: policy.classes.iter().map(|info| info.country.to_string()).collect(),
            origins: policy.rules.iter().map(|rule| rule.origin.to_string()).collect(),
        }
    }

    fn line<'t>(&'t self, text: &'t str, target: &Target) -> Option<Line<'t>> {
        let (version, address) = match target.address {
            IpAddr::V4(v4) => (4, Address::v4(v4.to_bits())),
            IpAddr::V6(v6) => (6, Address::from(v6)),
        };
        let (image, protocol) = (&self.policy.image, target.protocol.unwrap_or(0));
        let found = classify(image, version, address, protocol, target.port)?;
        let found = judge_content(image, found, mark_of_destination(protocol, target.port) as u8)?;
        let class_id = usize::from(found.class_id);
        let rule = self.policy.rule(found.rule);
        Some(Line {
            destination: text,
            country: self.countries.get(class_id)?,
            class: self.policy.classes.get(class_id)?.class.name(),
            rule: rule.map(|rule| rule.id.as_str()),
            origin: usize::from(found.rule).checked_sub(1).and_then(|at| self.origins.get(at)).map(String::as_str),
            observe: decide(&found, false).name(),
            enforce: decide(&found, true).name(),
            alert: found.alert,
        })
    }
}

/// Answers every line; empty ones and comments (`#`) are passed over.
///
/// # Errors
/// A line is no destination, with its number; standard output is closed.
pub(super) fn run(inputs: &Inputs, mut lines: impl BufRead, out: impl Write, json: bool) -> Result<(), CliError> {
    let answers = Answers::of(&inputs.policy);
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let read = lines.by_ref().take(LONGEST_LINE).read_line(&mut line);
        let place = |what: &str| CliError::Usage(format!("standard input:{number}: {what}"));
        match read {
            Ok(0) => break,
            Ok(length) if length as u64 == LONGEST_LINE && !line.ends_with('\n') => {
                return Err(place("the line is too long: write one destination on each"));
            }
            Ok(_) => {}
            Err(error) => return Err(place(&format!("can't be read ({error}): give text, one destination a line"))),
        }
        // CR alone ends a line, too: what stands behind it is asked about, or it is wrong.
        for text in line.trim_start_matches('\u{feff}').split('\r') {
            let text = text.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let target: Target = text.parse().map_err(|error| place(&format!("{error}")))?;
            let answer =
                answers.line(text, &target).ok_or_else(|| CliError::Internal("the policy is not whole".into()))?;
            let written = if json {
                serde_json::to_writer(&mut out, &answer)
                    .map_err(std::io::Error::from)
                    .and_then(|()| out.write_all(b"\n"))
            } else {
                let (rule, origin) = (answer.rule.unwrap_or("-"), answer.origin.unwrap_or("-"));
                writeln!(
                    out,
                    "{text}\t{}\t{}\t{}\t{}\t{rule}\t{origin}",
                    answer.country, answer.class, answer.observe, answer.enforce
                )
            };
            if let Err(error) = written {
                return closed(&error);
            }
        }
    }
    out.flush().or_else(|error| closed(&error))
}

/// Whoever reads has had enough: `head`, say.
fn closed(error: &std::io::Error) -> Result<(), CliError> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(CliError::Unavailable(format!("standard output can't be written: {error}")))
}

/// What a network is made of, the largest part first.
pub(in crate::cli) fn parts(network: &ipnetwork::IpNetwork, policy: &Policy) -> Vec<NetworkPart> {
    let image = &policy.image;
    let (first, last, starts): (u128, u128, Vec<(u128, u32)>) = match network {
        ipnetwork::IpNetwork::V4(v4) => (
            v4.network().to_bits().into(),
            v4.broadcast().to_bits().into(),
            image.v4_intervals().into_iter().map(|(start, class_id)| (start.into(), class_id)).collect(),
        ),
        ipnetwork::IpNetwork::V6(v6) => (v6.network().to_bits(), v6.broadcast().to_bits(), image.v6_intervals()),
    };
    let address = |bits: u128| match network {
        ipnetwork::IpNetwork::V4(_) => IpAddr::from(std::net::Ipv4Addr::from_bits(bits as u32)),
        ipnetwork::IpNetwork::V6(_) => std::net::Ipv6Addr::from_bits(bits).into(),
    };
    // By class: how many addresses, less one so that all of IPv6 fits, and the first.
    let mut found: std::collections::BTreeMap<u32, (u128, u128)> = std::collections::BTreeMap::new();
    let from = starts.partition_point(|(start, _)| *start <= first).saturating_sub(1);
    for (place, (start, class_id)) in starts.iter().enumerate().skip(from).take_while(|(_, (start, _))| *start <= last)
    {
        let begin = (*start).max(first);
        let end = starts.get(place + 1).map_or(last, |next| last.min(next.0 - 1));
        let more = end - begin;
        found
            .entry(*class_id)
            .and_modify(|(sum, _)| *sum = sum.saturating_add(more).saturating_add(1))
            .or_insert((more, begin));
    }
    let mut parts: Vec<(u128, NetworkPart)> = found
        .into_iter()
        .filter_map(|(class_id, (more, begin))| {
            let row = image.classes.get(class_id as usize)?;
            let rows = image.rules.iter().skip(row.rules_start as usize).take(row.rules_len as usize);
            let rules: Vec<String> = rows
                .map(|row| {
                    let id = policy.rule(row.rule).map_or("?", |rule| rule.id.as_str());
                    let ports = monitor_policy::spec::PortRange {
                        protocol: row.protocol,
                        low: row.port_low,
                        high: row.port_high,
                    };
                    let from = if row.action == RuleRow::KEEP_FROM { "from " } else { "" };
                    if row.protocol == 0 { id.to_owned() } else { format!("{id} {from}{ports}") }
                })
                .collect();
            let (version, at) = match address(begin) {
                IpAddr::V4(v4) => (4, Address::v4(v4.to_bits())),
                IpAddr::V6(v6) => (6, Address::from(v6)),
            };
            let enforce = decide(&classify(image, version, at, 0, None)?, true).name();
            let addresses = more.checked_add(1).map_or_else(|| "2^128".to_owned(), |count| count.to_string());
            let (country, class) = (Country(row.country).to_string(), Class::from_wire(row.class).name());
            Some((more, NetworkPart { country, class, addresses, first: address(begin), enforce, rules }))
        })
        .collect();
    parts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.first.cmp(&b.1.first)));
    parts.into_iter().map(|(_, part)| part).collect()
}
