//! `egress-monitor explain`: what the policy makes of an address, and why.

mod batch;

use std::{io, path::PathBuf, sync::Arc};

use crate::config::inputs::{self, Inputs};
use crate::{
    cli::{
        output::{joined, print_either},
        render,
    },
    error::CliError,
};
use monitor_api::{
    client::Client,
    explain::{Explanation, Network},
    rules::Rules,
};
use monitor_policy::{ExplainInputs, Policy, Target, explain, geo::unmapped};

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
pub fn run(args: &Args) -> Result<(), CliError> {
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
        let of = |network: &ipnetwork::IpNetwork| {
            let network = unmapped(*network);
            (network.to_string(), batch::parts(&network, &inputs.policy))
        };
        let networks: Vec<Network> = args.networks.iter().map(of).collect();
        return print_either(args.json, &networks, |networks| joined(networks.iter().map(render::network)));
    }
    let stories = stories(&targets, &inputs)?;
    print_either(args.json, &stories, |stories| joined(stories.iter().map(render::explanation)))
}

/// The policy as the daemon has it in force.
fn running(inputs: &Inputs) -> Result<Policy, CliError> {
    let client = Client::new(inputs.config.paths.runtime.join("control.sock"));
    let there: Rules = client.get("/api/v1/rules")?;
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
