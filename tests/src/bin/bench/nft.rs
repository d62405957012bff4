//! What nftables does on the way out: a set of the networks inside the region with a counter, or a counter for each
//! flow.

use std::{fmt::Write as _, io::Write as _, net::Ipv4Addr, process::Stdio};

use anyhow::{Context as _, Result, bail};
use egress_monitor_tests::{monitor::policy::Policy, netns::Namespace, stage::INTERFACE};
use monitor_common::wire::Class;

/// Places for flows: twice as many as there are.
const FLOWS: u32 = 131_072;

/// The rules that are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One set of networks.
    Networks,
    /// One set element with a counter for each flow.
    Flows,
}

impl Rule {
    /// As it is given to `nft`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Networks => "ip daddr != @inside counter name \"left\"",
            Self::Flows => "update @flows { ip saddr . ip daddr . udp sport . udp dport counter }",
        }
    }
}

/// Makes the sets; gives how many ranges that of networks has.
pub fn make(namespace: &Namespace, policy: &Policy) -> Result<usize> {
    let ranges = inside(policy);
    let mut text = format!(
        "table netdev bench {{\n counter left {{ }}\n set flows {{\n  \
         type ipv4_addr . ipv4_addr . inet_service . inet_service\n  size {FLOWS}\n  flags dynamic,timeout\n  \
         timeout 10m\n }}\n set inside {{\n  type ipv4_addr\n  flags interval\n  auto-merge\n  elements = {{ "
    );
    for (first, last) in &ranges {
        let (first, last) = (Ipv4Addr::from_bits(*first), Ipv4Addr::from_bits(*last));
        // Writing to a String does not fail.
        let _ = if first == last { write!(text, "{first}, ") } else { write!(text, "{first}-{last}, ") };
    }
    text.push_str("}\n }\n}\n");
    run(namespace, &["-f", "-"], &text)?;
    Ok(ranges.len())
}

/// Begins to count by `rule`, from zero.
pub fn hook(namespace: &Namespace, rule: Rule) -> Result<()> {
    match rule {
        Rule::Networks => run(namespace, &["reset", "counter", "netdev", "bench", "left"], "")?,
        Rule::Flows => run(namespace, &["flush", "set", "netdev", "bench", "flows"], "")?,
    };
    let chain = format!("{{ type filter hook egress device \"{INTERFACE}\" priority 0; policy accept; }}");
    let script = format!("add chain netdev bench out {chain}\nadd rule netdev bench out {}\n", rule.text());
    run(namespace, &["-f", "-"], &script).map(drop)
}

/// Ends it, and gives the packets that were counted; how many flows, where the rule tells them apart.
pub fn unhook(namespace: &Namespace, rule: Rule) -> Result<(u64, Option<u64>)> {
    run(namespace, &["-f", "-"], "flush chain netdev bench out\ndelete chain netdev bench out\n")?;
    match rule {
        // A counter of its own: a rule's would be listed with every element of the set.
        Rule::Networks => {
            let text = run(namespace, &["list", "counter", "netdev", "bench", "left"], "")?;
            Ok((counters(&text).context("`nft list counter` has another form")?.0, None))
        }
        Rule::Flows => {
            let text = run(namespace, &["list", "set", "netdev", "bench", "flows"], "")?;
            let (packets, flows) = counters(&text).context("`nft list set` has another form")?;
            Ok((packets, Some(flows)))
        }
    }
}

/// The packets of all counters in what `nft` printed, and how many counters there are.
fn counters(text: &str) -> Option<(u64, u64)> {
    let mut sums = (0, 0);
    // "… counter packets 7 bytes 448 …"; a counter of its own has its name and a brace in between.
    for after in text.split("packets ").skip(1) {
        let packets: u64 = after.split_whitespace().next()?.parse().ok()?;
        sums = (sums.0 + packets, sums.1 + 1);
    }
    Some(sums)
}

/// `nft ARGUMENTS` with `input`; gives back what it printed.
fn run(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = namespace.command("nft")?;
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let missing = "cannot start `nft`: install it (Debian: `apt-get install nftables`)";
    let mut child = command.spawn().context(missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("writing to `nft`")?;
    }
    let output = child.wait_with_output().context("waiting for `nft`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`nft {}`: {}", arguments.join(" "), said.lines().next().unwrap_or("no reason given"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// 198.18.0.0/15: where packets are sent to. It is left out of the set, so that there is something to count.
const SENT_TO: std::ops::RangeInclusive<u32> = 0xc612_0000..=0xc613_ffff;

/// The IPv4 ranges that every source places inside, neighbours joined.
fn inside(policy: &Policy) -> Vec<(u32, u32)> {
    let intervals = policy.image.v4_intervals();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    let ends = intervals.iter().skip(1).map(|(start, _)| start - 1).chain([u32::MAX]);
    for (&(first, class_id), last) in intervals.iter().zip(ends) {
        if policy.classes[class_id as usize].class == Class::Inside && !SENT_TO.contains(&first) {
            match ranges.last_mut() {
                Some(range) if range.1.checked_add(1) == Some(first) => range.1 = last,
                _ => ranges.push((first, last)),
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::counters;

    #[test]
    fn packets_of_all_elements_are_summed_up() {
        let text = "table netdev bench {\n set flows {\n  type ipv4_addr . ipv4_addr . inet_service . inet_service\n  \
                    elements = { 198.18.9.1 . 198.19.0.1 . 4000 . 53 counter packets 7 bytes 448 expires 9m59s,\n   \
                    198.18.9.1 . 198.19.0.2 . 4000 . 53 counter packets 5 bytes 320 expires 9m59s }\n }\n}\n";
        assert_eq!(counters(text), Some((12, 2)));
        assert_eq!(counters("table netdev bench {\n counter left {\n  packets 3 bytes 192\n }\n}\n"), Some((3, 1)));
        assert_eq!(counters("table netdev bench {\n}\n"), Some((0, 0)));
        assert_eq!(counters("counter packets many bytes"), None);
    }
}
