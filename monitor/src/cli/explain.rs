//! `egress-monitor explain`: what the policy makes of an address, and why.

mod batch;

use std::{io, path::PathBuf, sync::Arc};

use crate::config::inputs::{self, Inputs};
use crate::{
    cli::output::{print_either, table},
    error::CliError,
};
use monitor_api::{client, rules::Rules};
use monitor_policy::{ExplainInputs, Explanation, Policy, Target, explain, explain::AddressInfo};

/// Says what the policy makes of a destination, and why.
///
/// Country and what each source says, special range, site, rules and where they stand, and the verdict in observe and
/// in enforce. Rules with ports are judged when a port is given; a port without a protocol is TCP's.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor explain 8.8.8.8 2a00:1450:4001::1\n  egress-monitor explain 192.0.2.7:443 [2001:db8::1]:53/udp --json\n  egress-monitor explain --network 192.0.2.0/24\n  egress-monitor explain - < destinations.txt"
)]
pub struct Args {
    /// ADDR, ADDR:PORT or [V6]:PORT, each with /PROTOCOL behind it; - for a list on standard input, one a line, and a line
    /// of output each (destination, country, class, verdict in observe and in enforce, rule and where it stands)
    #[arg(required_unless_present = "networks", value_name = "DESTINATION")]
    destinations: Vec<String>,
    /// What a network is made of: each class in it with its size and the rules that decide there.
    #[arg(long = "network", value_name = "NETWORK", conflicts_with = "destinations")]
    networks: Vec<ipnetwork::IpNetwork>,
    /// Configuration file [default: /etc/egress-monitor/config.toml if it exists, else the built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// By what the running daemon has in force: the same policy, without the rules whose daily budget is used up.
    #[arg(long)]
    running: bool,
    /// JSON instead of text: a list with an object for each destination.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A destination or the configuration is no good.
pub fn run(args: Args) -> Result<(), CliError> {
    if args.destinations == ["-"] {
        let mut inputs = inputs::read(args.config.as_deref())?;
        if args.running {
            inputs.policy = running(&inputs)?;
        }
        return batch::run(&inputs, io::stdin().lock(), io::stdout().lock(), args.json);
    }
    let targets = args.destinations.iter().map(|text| text.parse::<Target>());
    let targets = targets.collect::<Result<Vec<_>, _>>().map_err(|error| CliError::Usage(error.to_string()))?;
    let mut inputs = inputs::read(args.config.as_deref())?;
    if args.running {
        inputs.policy = running(&inputs)?;
    }
    if !args.networks.is_empty() {
        let parts: Vec<_> =
            args.networks.iter().map(|network| (network, batch::parts(network, &inputs.policy))).collect();
        let of = |(network, parts): &(&ipnetwork::IpNetwork, Vec<batch::Part>)| batch::as_text(network, parts);
        return print_either(args.json, &parts, |parts| parts.iter().map(of).collect::<Vec<_>>().join("\n"));
    }
    let stories = stories(&targets, &inputs)?;
    print_either(args.json, &stories, |stories| stories.iter().map(as_text).collect::<Vec<_>>().join("\n"))
}

/// The policy as the daemon has it in force.
fn running(inputs: &Inputs) -> Result<Policy, CliError> {
    let socket = inputs.config.paths.runtime.join("control.sock");
    let there: Rules = client::get(&socket, "/api/v1/rules")?;
    let policy = &inputs.policy;
    if there.policy != policy.digest {
        return Err(CliError::Unavailable(format!(
            "the daemon has policy {} in force, and the configuration comes to {}: reload it, or ask without --running",
            there.policy, policy.digest
        )));
    }
    let is_suspended = |id: &str| there.rules.iter().any(|row| row.rule == id && row.state == "suspended");
    let suspended = policy.rules.iter().zip(1..).filter(|(rule, _)| is_suspended(&rule.id));
    let suspended = suspended.map(|(_, number)| number).collect();
    let held = Arc::new(policy.clone()).suspending(&suspended);
    Ok(Arc::unwrap_or_clone(held))
}

fn stories(targets: &[Target], inputs: &Inputs) -> Result<Vec<Explanation>, CliError> {
    let Inputs { config, knowledge, policy, clock } = inputs;
    let grounds = ExplainInputs { spec: &config.spec, knowledge, policy, clock: *clock };
    targets
        .iter()
        .map(|target| explain(target, &grounds).map_err(|error| CliError::Internal(error.to_string())))
        .collect()
}

fn as_text(story: &Explanation) -> String {
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
