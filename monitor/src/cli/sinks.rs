//! `egress-monitor sinks`: where alerts go, how far each sink is and what it said; and a test of one.

use super::{args::Daemon, output};
use crate::error::CliError;
use monitor_api::sinks::{SinkRow, Sinks};

/// Show where alerts go
///
/// What each sink promises, how many alerts wait for it, and what its receiver said last.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor sinks\n  egress-monitor sinks test siem")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an alert that says it is a test, and wait until a sink has taken it
    ///
    /// It goes the way of all alerts, and so to every sink.
    Test {
        /// The sink.
        name: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, there is no such sink, or it has not taken the test.
pub fn run(args: &Args) -> Result<(), CliError> {
    match &args.command {
        None => {
            let sinks: Sinks = args.daemon.client()?.get("/api/v1/sinks")?;
            args.daemon.shape.print(&sinks, |sinks, _| text(sinks))
        }
        Some(Command::Test { name, daemon }) => {
            let name = form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>();
            let row: SinkRow = daemon.client()?.post(&format!("/api/v1/sinks/test?sink={name}"))?;
            daemon.shape.print(&row, |row, _| {
                let answer = if row.answer.is_empty() { "taken" } else { &row.answer };
                format!("{}: taken up to alert {} ({}): {answer}\n", row.name, row.next - 1, row.promise)
            })
        }
    }
}

fn text(sinks: &Sinks) -> String {
    let mut rows =
        vec![output::cells(&["sink", "kind", "promise", "next", "waiting", "oldest", "taken", "refused", "said last"])];
    for sink in &sinks.sinks {
        let oldest = if sink.backlog == 0 { "-".to_owned() } else { format!("{} s", sink.oldest_seconds) };
        let numbers = [sink.next, sink.backlog].map(|number| number.to_string());
        let counts = [sink.delivered, sink.rejected].map(|number| number.to_string());
        let cells = [
            &sink.name,
            &sink.kind,
            &sink.promise,
            &numbers[0],
            &numbers[1],
            &oldest,
            &counts[0],
            &counts[1],
            &sink.answer,
        ];
        rows.push(cells.map(String::clone).into());
    }
    let mut text = output::table(0, &rows, &[3, 4, 5, 6, 7]);
    if sinks.sinks.is_empty() {
        text = "no sink: alerts are kept, and go nowhere\n".to_owned();
    }
    text += &match &sinks.unwritable {
        Some(why) => format!("alerts can't be kept on disk: {why}; {} wait in memory\n", sinks.queued),
        None => format!("next alert: {}\n", sinks.next),
    };
    if sinks.lost + sinks.gone > 0 {
        text += &format!("lost: {} found no room, {} went before a sink had taken them\n", sinks.lost, sinks.gone);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_is_a_line_and_what_was_lost_is_said() {
        let sink = SinkRow {
            name: "siem".into(),
            kind: "webhook".into(),
            promise: "at least once".into(),
            next: 7,
            backlog: 3,
            oldest_seconds: 12,
            delivered: 5,
            answer: "503: later".into(),
            ..SinkRow::default()
        };
        let sinks = Sinks { next: 10, gone: 2, sinks: vec![sink], ..Sinks::default() };
        assert_eq!(
            text(&sinks),
            "sink  kind     promise        next  waiting  oldest  taken  refused  said last\n\
             siem  webhook  at least once     7        3    12 s      5        0  503: later\n\
             next alert: 10\n\
             lost: 0 found no room, 2 went before a sink had taken them\n"
        );
        let none = Sinks { next: 1, unwritable: Some("full".into()), queued: 4, ..Sinks::default() };
        assert_eq!(
            text(&none),
            "no sink: alerts are kept, and go nowhere\nalerts can't be kept on disk: full; 4 wait in memory\n"
        );
    }
}
