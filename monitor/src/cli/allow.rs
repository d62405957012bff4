//! `egress-monitor allow`: a permitted transfer as the configuration has it. It is printed, and read back by the reader of
//! configurations first: what is printed is accepted.

use std::path::Path;

use super::{args::long, output::print};
use crate::{
    config,
    error::CliError,
    model::{now, seconds},
};
use monitor_policy::text::time;

/// Print a rule that permits a transfer
///
/// Append it to the configuration, or to a candidate for `egress-monitor try`. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor allow 198.51.100.0/24 tcp/443 --id migration-sg --reason \"user migration\" \
                        --expires 30d >> candidate.toml\n\nWhat rules can say beside it: docs/policy.md, \"Rules\""
)]
pub struct Args {
    /// Where it may go: a network, an address, or a country's code
    #[arg(value_name = "NETWORK")]
    to: String,
    /// Port, such as tcp/443 or udp/4500-4510 [default: all traffic]
    #[arg(value_name = "PORT")]
    ports: Vec<String>,
    /// Name of the rule
    #[arg(long)]
    id: String,
    /// Why it is permitted: on the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Until when: 30d, 12h, or 2099-12-31T00:00:00Z [default: for good]
    #[arg(long, value_name = "TIME", value_parser = end)]
    expires: Option<End>,
    /// Who answers for it
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Where it was requested
    #[arg(long, value_name = "TEXT")]
    ticket: Option<String>,
}

/// When a rule ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// So many seconds from now.
    In(u64),
    /// As the configuration has it.
    At(String),
}

fn end(text: &str) -> Result<End, String> {
    match long(text) {
        Ok(lasts) => Ok(End::In(lasts.as_secs())),
        Err(_) if text.parse::<jiff::Timestamp>().is_ok() => Ok(End::At(text.to_owned())),
        Err(_) => Err("use 30d, 12h, or a time such as 2099-12-31T00:00:00Z".into()),
    }
}

/// Runs the command.
///
/// # Errors
/// What a configuration with this rule would be refused for.
pub fn run(args: &Args) -> Result<(), CliError> {
    let rule = rule(args, seconds(now()));
    let place = Path::new("rule");
    config::parse(place, &rule).map_err(|error| {
        // Of the rule alone, whose lines nobody has seen.
        let problems: Vec<_> = error.problems.into_iter().map(|problem| problem.message).collect();
        CliError::Usage(format!("{}; see `egress-monitor allow --help`", problems.join("; ")))
    })?;
    print(&rule)
}

fn rule(args: &Args, now: i64) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = format!("\n[[allow]]\nid = {}\nto = [{}]\n", quoted(&args.id), quoted(&args.to));
    if !args.ports.is_empty() {
        text += &format!("ports = [{}]\n", args.ports.iter().map(|port| quoted(port)).collect::<Vec<_>>().join(", "));
    }
    text += &format!("reason = {}\n", quoted(&args.reason));
    for (key, value) in [("owner", &args.owner), ("ticket", &args.ticket)] {
        text += &value.as_ref().map(|value| format!("{key} = {}\n", quoted(value))).unwrap_or_default();
    }
    let ends = args.expires.as_ref().map(|end| match end {
        End::In(seconds) => time(now.saturating_add_unsigned(*seconds)),
        End::At(text) => text.clone(),
    });
    text + &ends.map(|ends| format!("expires = {ends}\n")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(to: &str, ports: &[&str], expires: Option<&str>) -> Args {
        Args {
            to: to.into(),
            ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            id: "migration-sg".into(),
            reason: "users \"and\" more".into(),
            expires: expires.map(|text| end(text).unwrap()),
            owner: None,
            ticket: Some("CHG-7".into()),
        }
    }

    #[test]
    fn what_is_printed_is_a_rule_that_the_configuration_takes() {
        let text = rule(&args("198.51.100.0/24", &["tcp/443"], Some("30d")), 0);
        assert_eq!(
            text,
            "\n[[allow]]\nid = \"migration-sg\"\nto = [\"198.51.100.0/24\"]\nports = [\"tcp/443\"]\nreason = 'users \"and\" \
             more'\nticket = \"CHG-7\"\nexpires = 1970-01-31T00:00:00Z\n"
        );
        let read = |expires| config::parse(Path::new("rule"), &rule(&args("SG", &[], expires), 0)).unwrap().spec.rules;
        for (expires, seconds) in
            [(None, None), (Some("1d"), Some(86_400)), (Some("1970-01-01T01:00:00Z"), Some(3_600))]
        {
            let rules = read(expires);
            assert_eq!((rules.len(), rules[0].reason.as_str(), rules[0].expires), (1, "users \"and\" more", seconds));
        }
    }

    #[test]
    fn what_the_configuration_would_refuse_is_refused_here() {
        for (to, ports) in [("198.51.100.0/33", &[][..]), ("example.com", &[]), ("198.51.100.0/24", &["443"])] {
            let error = run(&args(to, ports, None)).unwrap_err();
            assert!(matches!(error, CliError::Usage(_)), "{to} {ports:?}");
        }
        assert!(end("soon").is_err() && end("0x").is_err());
        assert_eq!((end("12h"), end("2d")), (Ok(End::In(43_200)), Ok(End::In(172_800))));
    }
}
