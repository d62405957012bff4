//! `egress-monitor explain`: what the policy makes of an address, and why.

pub(super) mod batch;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cli::{
        output::{Shape, joined},
        render,
    },
    config::{
        self, Sources,
        inputs::{self, Inputs},
    },
    error::CliError,
    reload::confirmations::{ConfirmationStore, KeptPolicy},
    storage::state::StateDirectory,
};
use monitor_api::{
    client::Client,
    explain::{Explanation, Network},
    rules::Rules,
};
use monitor_policy::{ExplainInputs, Target, explain, geo::unmapped};

/// Explain how the policy treats a destination
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
    /// Explain a network: each class in it with its size and the rules that decide there
    #[arg(long = "network", value_name = "NETWORK", conflicts_with = "destinations")]
    networks: Vec<ipnetwork::IpNetwork>,
    /// Configuration file [default: /etc/egress-monitor/config.toml if it exists, else the built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// By the policy that the running daemon has in force, without rules whose daily budget is used up
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    shape: Shape,
}

/// Runs the command.
///
/// # Errors
/// A destination or the configuration is no good.
pub fn run(args: &Args) -> Result<(), CliError> {
    let inputs = || if args.running { running(args) } else { inputs::read(args.config.as_deref()) };
    if args.destinations == ["-"] {
        let inputs = inputs()?;
        return batch::run(&inputs, io::stdin().lock(), io::stdout().lock(), args.shape.json);
    }
    let targets = args.destinations.iter().map(|text| text.parse::<Target>());
    let targets = targets.collect::<Result<Vec<_>, _>>().map_err(|error| CliError::Usage(error.to_string()))?;
    let inputs = inputs()?;
    args.destinations.iter().filter_map(|text| Target::doubt(text)).for_each(|doubt| eprintln!("note: {doubt}"));
    if !args.networks.is_empty() {
        let of = |network: &ipnetwork::IpNetwork| {
            let network = unmapped(*network);
            (network.to_string(), batch::parts(&network, &inputs.policy))
        };
        let networks: Vec<Network> = args.networks.iter().map(of).collect();
        let text = |networks: &Vec<Network>, _| joined(networks.iter().map(render::network));
        return args.shape.print(&networks, text);
    }
    let stories = stories(&targets, &inputs)?;
    args.shape.print(&stories, |stories, _| joined(stories.iter().map(render::explanation)))
}

/// The policy as the daemon has it in force, with what it was compiled from: the files, or what is kept of them where they
/// are refused or come to something else by now.
fn running(args: &Args) -> Result<Inputs, CliError> {
    let paths = config::paths(args.config.as_deref());
    let client = Client::new(paths.runtime.join("control.sock"));
    let there: Rules = client.get("/api/v1/rules")?;
    let files = config::load(args.config.as_deref()).map_err(|error| error.to_string());
    let files = files.and_then(|config| inputs::compile(config).map_err(|error| error.to_string()));
    let of_files = match &files {
        Ok(inputs) => format!("come to {}", inputs.policy.digest),
        Err(why) => format!("are refused ({})", why.lines().collect::<Vec<_>>().join("; ")),
    };
    let in_force = |inputs: &Inputs| inputs.policy.digest == there.head.policy;
    let Some(inputs) = files.ok().filter(in_force).or_else(|| kept(&paths.state).find(in_force)) else {
        return Err(CliError::Unavailable(format!(
            "the daemon has policy {} in force; the files {of_files}, and what is kept in {} is another: reload, or ask \
             without --running",
            there.head.policy,
            paths.state.display()
        )));
    };
    let is_suspended = |id: &str| there.rules.iter().any(|row| row.rule == id && row.state == "suspended");
    let suspended = inputs.policy.rules.iter().zip(1..).filter(|(rule, _)| is_suspended(&rule.id));
    let suspended = suspended.map(|(_, number)| number).collect();
    let held = Arc::new(inputs.policy).suspending(&suspended);
    Ok(Inputs { policy: Arc::unwrap_or_clone(held), ..inputs })
}

/// What is kept of the policies confirmed last and on trial.
fn kept(state: &Path) -> impl Iterator<Item = Inputs> {
    let store = ConfirmationStore::open(StateDirectory::open(state));
    let all: Vec<KeptPolicy> = store.all().cloned().collect();
    all.into_iter().filter_map(move |kept| {
        let sources = Sources::Kept(store.copies(&kept).ok()?.into());
        inputs::compile(config::load_kept(kept.config(), sources).ok()?).ok()
    })
}

fn stories(targets: &[Target], inputs: &Inputs) -> Result<Vec<Explanation>, CliError> {
    let Inputs { config, knowledge, policy, clock } = inputs;
    let grounds = ExplainInputs { spec: &config.spec, knowledge, policy, clock: *clock };
    targets
        .iter()
        .map(|target| explain(target, &grounds).map_err(|error| CliError::Internal(error.to_string())))
        .collect()
}
