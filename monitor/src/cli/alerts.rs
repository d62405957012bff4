//! `egress-monitor alerts`: what is kept of alerts, from the running daemon or, where none answers, from the disk;
//! going on with what comes; and acknowledging one.

use std::{
    io::{self, ErrorKind},
    thread,
    time::Duration,
};

use super::{
    args::{Daemon, long},
    output,
};
use crate::{
    archive::Archive,
    cli::render,
    error::CliError,
    model::{incident::IncidentId, now},
    storage::state::StateDirectory,
};
use monitor_api::{
    alerts::{ACKNOWLEDGE, Acknowledged, Alerts, AlertsQuery, Missing, PAGE, Told},
    client::{Client, ClientError},
    incidents::{OneIncident, PAGE as INCIDENT},
};
use serde_json::value::RawValue;

/// Between two looks for what comes.
const AGAIN: Duration = Duration::from_secs(1);

/// Show alerts that are kept, and go on with what comes
///
/// One line each: its number, when it happened (UTC), how bad, of what type, what happened, and who has acknowledged
/// it; heartbeats only with --type. With --json the lines as they were written. Where no daemon answers,
/// root reads what is on disk.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  egress-monitor alerts --severity high\n  egress-monitor alerts --follow --country CN,SG\n  \
                  egress-monitor alerts --since 7d --type policy_changed,mode_changed\n  egress-monitor alerts --since 1h \
                  --json | jq -r .message\n  egress-monitor alerts ack 17 --note \"backup moved, CLV-1182\"\n  egress-monitor alerts \
                  show 0123456789abcdef0123456789abcdef"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Go on with what comes, over restarts of the daemon
    #[arg(long, short)]
    follow: bool,
    /// Only the last TIME (30min, 24h, 7d); 24h, and with --follow only what comes
    #[arg(long, value_name = "TIME", value_parser = long)]
    since: Option<Duration>,
    /// Only what is as bad or worse: informational, low, medium, high, critical
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<String>,
    /// Only these types: egress, egress_unparsed…, or findings
    #[arg(long = "type", value_name = "TYPES")]
    kind: Option<String>,
    /// Only incidents of these countries, by their codes
    #[arg(long, value_name = "CODES")]
    country: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show an incident: what it is, what it has sent, its hundred largest flows and the rest as sums
    ///
    /// Of one that is over, what was told of it.
    #[command(after_help = "Example:\n  egress-monitor alerts show 0123456789abcdef0123456789abcdef")]
    Show {
        /// Its metadata.correlation_uid; or the number or metadata.uid of an alert.
        id: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Acknowledge an alert, or all of an incident, on the record
    ///
    /// `alerts` shows who has acknowledged what, and an alert (`alert_acknowledged`) tells it to whoever gets alerts.
    /// The alerts themselves are kept as they are.
    #[command(after_help = "Example:\n  egress-monitor alerts ack 17 --note \"backup moved, CLV-1182\"")]
    Ack {
        /// Its number, its metadata.uid, or the metadata.correlation_uid of an incident.
        id: String,
        /// Why it is no trouble, or who sees to it.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// Runs the command.
///
/// # Errors
/// Nobody has alerts to show, a filter is none, or the daemon refuses.
pub fn run(args: &Args) -> Result<(), CliError> {
    match &args.command {
        None => Listing::of(args)?.run(),
        Some(Command::Show { id, daemon }) => show(id, daemon),
        Some(Command::Ack { id, note, daemon }) => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("id", id).extend_pairs(note.iter().map(|note| ("note", note)));
            let one: Acknowledged = daemon.client()?.post(&format!("{ACKNOWLEDGE}?{}", query.finish()))?;
            daemon.shape.print(&one, |one, _| render::acknowledged(one))
        }
    }
}

/// Shows an incident that is open, or what was told.
fn show(id: &str, daemon: &Daemon) -> Result<(), CliError> {
    // All that is kept is read only where that does not answer it.
    if let Some(open) = open(id, daemon)? {
        return daemon.shape.print(&open, |open, _| render::incident(open, now()));
    }
    let told = told(id, daemon)?;
    let mut correlation = told.iter().filter_map(|line| Told::of(line.get().as_bytes())).map(|alert| alert.correlation);
    if let Some(of) = correlation.rfind(|of| !of.is_empty() && of != id)
        && let Some(open) = open(&of, daemon)?
    {
        return daemon.shape.print(&open, |open, _| render::incident(open, now()));
    }
    if told.is_empty() {
        let why =
            format!("no alert {id:?} is kept, and no such incident is open: see `egress-monitor alerts --since 7d`");
        return Err(CliError::Usage(why));
    }
    if daemon.shape.json {
        return output::print(&told.iter().flat_map(|line| [line.get(), "\n"]).collect::<String>());
    }
    let page = Alerts { alerts: told, ..Alerts::default() };
    output::print(&output::shaped(&io::stdout(), &render::alerts(&page, now()), true))
}

/// The incident of this id, if a daemon has it open.
fn open(id: &str, daemon: &Daemon) -> Result<Option<OneIncident>, CliError> {
    if id.parse::<IncidentId>().is_err() {
        return Ok(None);
    }
    match daemon.client()?.get::<OneIncident>(&format!("{INCIDENT}?id={id}&fresh=1")) {
        Ok(open) => Ok(Some(open)),
        // It is over; or no daemon has it.
        Err(ClientError::Refused { status: 404, .. } | ClientError::NoDaemon { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The alerts that are meant, of all that are kept.
fn told(id: &str, daemon: &Daemon) -> Result<Vec<Box<RawValue>>, CliError> {
    let archive = daemon.state().map(|state| Archive::of(&StateDirectory::open(&state)));
    let mut source = Source { client: daemon.client()?, archive, last: None };
    let mut query = AlertsQuery { after: Some(0), ..AlertsQuery::default() };
    let mut told = Vec::new();
    loop {
        let page = source.page(&query)?;
        let is = |line: &RawValue| Told::of(line.get().as_bytes()).is_some_and(|alert| alert.is(id));
        told.extend(page.alerts.into_iter().filter(|line| is(line)));
        query.after = Some(page.next);
        if !page.truncated {
            return Ok(told);
        }
    }
}

/// Who has the alerts.
struct Source {
    client: Client,
    /// What is on disk, where it is known.
    archive: Option<Archive>,
    /// Where the last page came from.
    last: Option<From>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Daemon,
    Disk,
}

impl Source {
    /// Asks the daemon; where none answers, the disk.
    fn page(&mut self, query: &AlertsQuery) -> Result<Alerts, CliError> {
        let mut asked = form_urlencoded::Serializer::new(String::new());
        asked.extend_pairs(query.pairs());
        let path = format!("{PAGE}?{}", asked.finish());
        let error = match self.client.get::<Alerts>(&path) {
            Ok(page) => {
                if self.last == Some(From::Disk) {
                    eprintln!("egress-monitor: a daemon answers again");
                }
                self.last = Some(From::Daemon);
                return Ok(page);
            }
            Err(error) => error,
        };
        match &self.archive {
            Some(archive) if matches!(error, ClientError::NoDaemon { .. }) => {
                let page = from_disk(archive, query, error)?;
                if self.last != Some(From::Disk) {
                    let directory = archive.directory().display();
                    eprintln!("egress-monitor: no daemon answers; what is shown is on disk, in {directory}");
                }
                self.last = Some(From::Disk);
                Ok(page)
            }
            _ => Err(error.into()),
        }
    }
}

fn from_disk(archive: &Archive, query: &AlertsQuery, error: ClientError) -> Result<Alerts, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
    let filter = query.filter(milliseconds()).map_err(|error| usage(&error))?;
    let limit = query.limit().map_err(|error| usage(&error))?;
    archive.page(query, limit, &filter, None).map_err(|why| match why.kind() {
        // There was never a daemon here.
        ErrorKind::NotFound => error.into(),
        _ => {
            let (socket, directory) = (error.to_string(), archive.directory().display());
            CliError::Unavailable(format!("{socket}; what is on disk, in {directory}, can't be read: {why}"))
        }
    })
}

fn milliseconds() -> i64 {
    i64::try_from(now() / 1_000_000).unwrap_or(i64::MAX)
}

/// What is shown, and how far it is.
struct Listing<'a> {
    args: &'a Args,
    source: Source,
    query: AlertsQuery,
}

impl<'a> Listing<'a> {
    fn of(args: &'a Args) -> Result<Self, CliError> {
        /// What is shown where nobody says how much.
        const SINCE: Duration = Duration::from_hours(24);
        let since = args.since.or((!args.follow).then_some(SINCE));
        let query = AlertsQuery {
            since: since.map(|since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX)),
            severity: args.severity.clone(),
            kind: args.kind.clone(),
            country: args.country.clone(),
            ..AlertsQuery::default()
        };
        query.filter(0).map_err(|error| CliError::Usage(format!("--{error}")))?;
        let archive = args.daemon.state().map(|state| Archive::of(&StateDirectory::open(&state)));
        Ok(Self { args, source: Source { client: args.daemon.client()?, archive, last: None }, query })
    }

    fn run(&mut self) -> Result<(), CliError> {
        if self.query.since.is_none() {
            // From what is there now on.
            let latest = self.source.page(&AlertsQuery { limit: Some(1), ..AlertsQuery::default() })?.latest;
            self.query.after = Some(latest);
        }
        let (mut any, mut waits) = (false, false);
        loop {
            let page = match self.source.page(&self.query) {
                // Between two daemons, or while it has too much to do.
                Err(error) if self.args.follow && is_passing(&error) && (any || self.source.last.is_some()) => {
                    if !std::mem::replace(&mut waits, true) {
                        eprintln!("egress-monitor: {error}: waiting for it");
                    }
                    thread::sleep(AGAIN);
                    continue;
                }
                page => page?,
            };
            waits = false;
            let Some(shown) = self.show(&page)? else { return Ok(()) };
            any |= shown;
            self.query.after = Some(page.next);
            if page.truncated {
                continue;
            }
            if !self.args.follow {
                if !any && !self.args.daemon.shape.json {
                    output::print("no alerts like that are kept\n")?;
                }
                return Ok(());
            }
            // What comes is of now, whenever it happened.
            self.query.since = None;
            if page.on_disk && (1..page.next).contains(&page.latest) {
                eprintln!("egress-monitor: alerts are numbered anew, up to {} by now", page.latest);
                self.query.after = Some(0);
            }
            thread::sleep(AGAIN);
        }
    }

    /// Shows a page: whether there was anything in it. `None`: nobody reads any more.
    fn show(&self, page: &Alerts) -> Result<Option<bool>, CliError> {
        for Missing { first, last } in &page.missing {
            eprintln!("egress-monitor: alerts {first} to {last} are not kept any more");
        }
        if !page.on_disk && !page.alerts.is_empty() {
            eprintln!(
                "egress-monitor: alerts can't be kept on disk now (`egress-monitor sinks`); the latest in memory:"
            );
        }
        let text = if self.args.daemon.shape.json {
            page.alerts.iter().flat_map(|line| [line.get(), "\n"]).collect()
        } else {
            output::shaped(&io::stdout(), &render::alerts(page, now()), true)
        };
        Ok(output::stream(&text)?.then_some(!text.is_empty()))
    }
}

/// Whether it may be otherwise in a moment.
fn is_passing(error: &CliError) -> bool {
    match error {
        CliError::Daemon(ClientError::Refused { status, .. }) => *status == 503,
        CliError::Daemon(error) => {
            matches!(error, ClientError::NoDaemon { .. } | ClientError::Timeout { .. } | ClientError::Io { .. })
        }
        CliError::Unavailable(_) => true,
        _ => false,
    }
}
