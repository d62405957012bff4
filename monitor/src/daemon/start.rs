//! How a start comes to its policy: the files' own; where they are refused the last good one, compiled from what is kept of
//! its files; where nobody has confirmed it the one confirmed before. Called by [`super::run`].

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    DaemonError, Launch, ServiceManager, Setup, guess,
    launch::{compile, files, held, keep, mode, own, reader, without_privileges},
};
use monitor_policy::ClockMap;

use crate::{
    budgets, carried,
    clock::{self, TrustedClock},
    config::{self, Config, Paths, Sources},
    error::CliError,
    helper::Helper,
    kernel::{self, Guess},
    life,
    model::{
        Host,
        in_force::{LastGood, PolicyInForce},
    },
    reload::{
        self, Beginning, Files, by_hand::ByHand, confirmations::ConfirmationStore, held, stamps::FileStamps, waiting,
    },
    storage::{state::StateDirectory, writable},
};

/// What a start begins with.
pub struct Start {
    /// The configuration: that of the files, or else that of the last good policy.
    pub config: Config,
    /// The policy, but for a mode that was set by hand.
    pub in_force: PolicyInForce,
    /// What was read, and is looked at from now on.
    pub files: Files,
    /// How it came to its policy.
    pub begin: Beginning,
    /// What was on trial and is not in force: what to report.
    pub reverted: Option<String>,
    /// What was confirmed before.
    pub confirmations: ConfirmationStore,
    /// The mode set by hand.
    pub by_hand: ByHand,
}

/// Configuration and policy for the start, with what they were read from. Files that are refused have the last good
/// policy take their place, unless somebody is there to see that they are; a policy that nobody has confirmed has, too.
///
/// # Errors
/// What is wrong with them.
pub fn read(launch: &Launch) -> Result<Start, CliError> {
    let paths = config::paths(launch.config.as_deref());
    let state = state(&paths.state);
    let confirmations = ConfirmationStore::open(state.clone());
    let clock = launch.clock.map();
    let mut by_hand = ByHand::open(state, Host::read().boot_id, &clock);
    if by_hand.is_over(&clock) {
        tracing::info!("the time of the mode that was set by hand is over");
        by_hand = by_hand.with(None, &clock);
        // One that stays is over all the same.
        let _ = by_hand.keep();
    }
    let (config, in_force, files, begin) = match from_files(launch, &confirmations, &by_hand) {
        Ok((config, in_force, files)) => {
            let policy = in_force.reference();
            let unconfirmed = confirmations.pending(&policy).is_some();
            let asked = launch.confirm.is_some() && in_force.mode.enforces() && !confirmations.is_confirmed(&policy);
            // Whoever stops and starts it has decided; one that was killed has not.
            let killed = match life::Record::read(confirmations.state()) {
                Some(before) => before.ended.is_none(),
                // It could not be written, but somebody was there.
                None => !kernel::beside(&paths.bpffs, false).is_empty(),
            };
            let waits = if launch.outlives && killed { waiting::of(confirmations.state(), &config.text) } else { None };
            let wants_good = unconfirmed || asked || waits.is_some();
            let good = if wants_good { usable(&confirmations, &by_hand, clock).ok() } else { None };
            match (good, waits) {
                (Some((_, good)), _) if unconfirmed => (config, good, files, Beginning::Reverted),
                (Some((_, good)), Some(what)) => (config, good, files, Beginning::Waits(what)),
                (good, _) => (config, in_force, files, Beginning::Files(good.map(|(_, good)| Box::new(good)))),
            }
        }
        Err(refused) if launch.outlives => match usable(&confirmations, &by_hand, clock) {
            Ok((config, good)) => {
                let Refused { why, mut files } = *refused;
                let why = excerpt(&why);
                tracing::error!(
                    why,
                    policy = good.policy.digest,
                    mode = good.mode.name(),
                    "files refused: the last good policy holds"
                );
                files.inputs.extend(config.inputs());
                files.watch = Some(config.reload == config::Reload::Auto);
                // Commands look for the daemon where the files say.
                let paths = Paths { state: paths.state, runtime: paths.runtime, ..config.paths };
                let kept = i128::from(confirmations.confirmed().map_or(0, |kept| kept.since)) * 1_000_000_000;
                let last_good = Some(Arc::new(LastGood { refused: why, kept }));
                (Config { paths, ..config }, PolicyInForce { last_good, ..good }, files, Beginning::LastGood)
            }
            Err(why) => {
                if confirmations.confirmed().is_some() || confirmations.state().refused().is_some() {
                    tracing::error!(why, "the last good policy can't take the place of files that are refused");
                }
                return Err(refused.into_failure());
            }
        },
        Err(refused) => return Err(refused.into_failure()),
    };
    let there = in_force.reference();
    let reverted = confirmations.on_trial().filter(|trial| **trial != there);
    let reverted = reverted.map(|trial| format!("policy {trial} was not confirmed: {there} is in force again"));
    Ok(Start { config, in_force, files, begin, reverted, confirmations, by_hand })
}

/// What the command line asked for, with what is remembered of the clocks, and what the start before needed.
pub fn remembered(launch: &Launch) -> (Launch, Option<Guess>) {
    let state = state(&config::paths(launch.config.as_deref()).state);
    let guess = guess::read(&state);
    (Launch { clock: TrustedClock::open(state, &Host::read().boot_id), ..launch.clone() }, guess)
}

/// Everything that [`serve`](super::serve) needs of a start, with its configuration.
///
/// # Errors
/// An output that can't be written.
pub fn setup(launch: &Launch, start: Start) -> Result<(Config, Setup), DaemonError> {
    let Start { config, in_force, files, begin, reverted, confirmations, by_hand } = start;
    // What is not in force is nothing to compare with.
    if matches!(begin, Beginning::Files(_)) {
        keep(&config);
    }
    let once_read = files.config.clone();
    let setup = Setup {
        epoch: config.epoch,
        listen: config.listen,
        socket: config.paths.runtime.join("control.sock"),
        helper: Helper::at(config.paths.helper.clone()),
        groups: config.paths.groups.clone(),
        state: config.paths.state.clone(),
        in_force,
        keep_alerts: config.alerts.keep,
        attribute: config.attribution.enabled,
        command_lines: config.attribution.command_lines,
        sinks: launch.sinks(&config)?,
        reload: reload::Setup {
            read: without_privileges(reader(launch.clone(), once_read)),
            files,
            clock: launch.clock.clone(),
            confirm: launch.confirm,
            outlives: launch.outlives,
            confirmations,
            by_hand,
            begin,
            reverted,
        },
        service_manager: ServiceManager::from_environment(),
    };
    Ok((config, setup))
}

/// `[paths] state`, unless others can write to what decides a policy there, or is shown to auditors.
fn state(path: &Path) -> StateDirectory {
    let mut state = StateDirectory::open(path);
    let policies = ["confirmed.json", "trial.json", "mode.json", waiting::FILE, "blobs"];
    let policies = policies.into_iter().chain(held::FILES);
    let names =
        ["", clock::FILE, carried::FILE, life::FILE, guess::FILE, budgets::store::FILE].into_iter().chain(policies);
    let parts: Vec<_> = names.map(|part| path.join(part)).collect();
    if let Some((part, why)) = writable::by_others(&parts).into_iter().next() {
        state.refuse(format!("{} can be written by others: {why}", part.display()));
    }
    state
}

/// Why files are refused, line by line, and as many of them as are known.
struct Refused {
    why: Vec<String>,
    files: Files,
}

impl Refused {
    /// As `ConfigError::into_failure`.
    fn into_failure(self) -> CliError {
        let mut why = self.why;
        let last = why.pop().unwrap_or_default();
        for problem in why {
            eprintln!("egress-monitor: {problem}");
        }
        CliError::Usage(last)
    }
}

/// What fits into a line.
fn excerpt(why: &[String]) -> String {
    const MOST: usize = 5;
    let mut text = why.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join("; ");
    if why.len() > MOST {
        text += &format!("; and {} more", why.len() - MOST);
    }
    text
}

/// The policy of the files.
fn from_files(
    launch: &Launch,
    confirmations: &ConfirmationStore,
    by_hand: &ByHand,
) -> Result<(Config, PolicyInForce, Files), Box<Refused>> {
    let file = own(launch);
    let before = FileStamps::look(&file);
    let refused = |why: Vec<String>, known: &[PathBuf]| {
        let mut inputs = file.clone();
        inputs.extend(known.iter().cloned());
        let stamps = FileStamps::look(&inputs).after(before.clone());
        let files = Files { config: file.first().cloned(), inputs, stamps, ..Files::default() };
        Box::new(Refused { why, files })
    };
    let config = config::load(launch.config.as_deref())
        .map_err(|error| refused(error.problems.iter().map(ToString::to_string).collect(), &error.files()))?;
    if let Some(why) = gone(&config, confirmations).filter(|_| launch.outlives) {
        return Err(refused(vec![why], &[]));
    }
    let mut files = files(&config, launch, before.clone());
    files.shrunk = held(&config, true).map_err(|why| refused(vec![why], &config.inputs()))?;
    let compiled = compile(&config, mode(&config, launch), launch.clock.map()).map_err(|error| error.to_string());
    let checked = compiled.and_then(|policy| by_hand.refuses(&policy).map_or(Ok(policy), Err));
    match checked {
        Ok(in_force) => Ok((config, in_force, files)),
        Err(why) => Err(refused(vec![why], &config.inputs())),
    }
}

/// Nobody goes from a policy of their own to the built-in one because a file is gone.
fn gone(config: &Config, confirmations: &ConfirmationStore) -> Option<String> {
    let before = confirmations.confirmed()?.config().filter(|_| config.file.is_none())?;
    let why = "no such file any more: put it back; an empty one stands for the built-in policy";
    Some(format!("{}: {why}", before.display()))
}

/// What was confirmed last, compiled from what is kept of its files.
///
/// # Errors
/// Nothing is, or it can't be compiled.
fn last_good(confirmations: &ConfirmationStore, clock: ClockMap) -> Result<(Config, PolicyInForce), String> {
    let state = confirmations.state();
    if let Some(why) = state.refused() {
        return Err(why.to_owned());
    }
    let good = confirmations.confirmed().ok_or_else(|| format!("none is kept in {}", state.path().display()))?;
    let sources = Sources::Kept(Arc::new(confirmations.copies(good)?));
    let config = config::load_kept(good.config(), sources).map_err(|error| error.to_string())?;
    // What is evaluated beside it was never confirmed.
    let config = Config { shadow: None, ..config };
    let in_force = compile(&config, good.policy.mode, clock).map_err(|error| error.to_string())?;
    if in_force.policy.digest != good.policy.digest {
        let (kept, made) = (&good.policy.digest, &in_force.policy.digest);
        tracing::warn!(kept, made, "this version, or its data, makes another policy of the last good one's files");
    }
    Ok((config, in_force))
}

/// The same, if it can be put in force with the mode that was set by hand.
fn usable(
    confirmations: &ConfirmationStore,
    by_hand: &ByHand,
    clock: ClockMap,
) -> Result<(Config, PolicyInForce), String> {
    let (config, good) = last_good(confirmations, clock)?;
    by_hand.refuses(&good).map_or(Ok((config, good)), Err)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

    use monitor_policy::spec::Mode;
    use tempfile::TempDir;

    use super::*;
    use crate::{daemon::launch::reader, reload::Wanted};

    const GOOD: &str = "[monitor]\nmode = \"enforce\"\n[geo]\nsources = [\"one.csv\"]\n[management]\nnetworks = []\n";

    /// A configuration in a folder that nobody else can write to.
    fn home() -> TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("one.csv"), "192.0.2.0,192.0.2.255,DE\n").unwrap();
        write(&home, GOOD);
        home
    }

    fn write(home: &TempDir, text: &str) {
        let paths = format!("[paths]\nstate = \"{0}/state\"\nruntime = \"{0}/run\"\n", home.path().display());
        fs::write(home.path().join("config.toml"), paths + text).unwrap();
    }

    fn start(home: &TempDir, outlives: bool, confirm: Option<Duration>) -> Result<Start, CliError> {
        let config = Some(home.path().join("config.toml"));
        read(&Launch { config, confirm, outlives, ..Launch::default() })
    }

    /// As the reloader keeps what is in force for good.
    fn keep(start: Start) -> Start {
        let Start { files, mut confirmations, in_force, .. } = start;
        confirmations.keep_confirmed(&in_force.reference(), &files.compiled_from()).unwrap();
        Start { in_force, files, confirmations, ..start }
    }

    #[test]
    fn what_is_refused_has_the_last_good_policy_and_what_was_never_good_has_not() {
        let home = home();
        write(&home, "x = 1\n[zone]\nname = 5\n");
        assert!(start(&home, true, None).err().unwrap().to_string().contains("config.toml"));
        write(&home, GOOD);
        let first = keep(start(&home, true, None).unwrap());
        assert!(matches!(first.begin, Beginning::Files(None)) && first.in_force.last_good.is_none());
        write(&home, "x = 1\n[zone]\nname = 5\n");
        // Whoever looks at it sees it.
        assert!(start(&home, false, None).is_err());
        let second = start(&home, true, None).unwrap();
        assert!(matches!(second.begin, Beginning::LastGood));
        assert_eq!(second.in_force.reference(), first.in_force.reference());
        let why = &second.in_force.last_good.as_ref().unwrap().refused;
        assert!(why.contains("config.toml:4") && why.contains("; "), "both problems: {why}");
        // What it looks at until it is good: the file itself, and what the last good one was made of.
        for file in ["config.toml", "one.csv"] {
            assert!(second.files.inputs.contains(&home.path().join(file)), "{:?}", second.files.inputs);
        }
        assert_eq!((second.files.watch, second.config.paths.runtime), (Some(true), home.path().join("run")));
        // A list that was not there before, and is no good.
        let list = home.path().join("new.toml");
        fs::write(&list, "x = 1\n").unwrap();
        write(&home, &format!("{GOOD}[policy]\nallowlists = [\"*.toml\"]\n"));
        assert!(start(&home, true, None).unwrap().files.inputs.contains(&list));
        let launch = Launch { config: Some(home.path().join("config.toml")), ..Launch::default() };
        let read = reader(launch, None)(None);
        assert!(read.policy.is_err() && read.files.inputs.contains(&list), "{:?}", read.files);
        fs::remove_file(&list).unwrap();
        write(&home, "x = 1\n[zone]\nname = 5\n");
        // Of a dataset that was replaced, what was compiled is kept.
        fs::write(home.path().join("one.csv"), "192.0.2.0,192.0.2.255,FR\n").unwrap();
        assert_eq!(start(&home, true, None).unwrap().in_force.reference(), first.in_force.reference());
        fs::remove_dir_all(home.path().join("state/blobs")).unwrap();
        assert!(start(&home, true, None).err().unwrap().to_string().contains("config.toml"));
    }

    #[test]
    fn a_configuration_that_was_there_is_not_replaced_by_the_built_in_one() {
        let home = home();
        let first = keep(start(&home, true, None).unwrap());
        let built_in = Config::default();
        let why = gone(&built_in, &first.confirmations).unwrap();
        assert!(why.contains("config.toml: no such file any more"), "{why}");
        assert_eq!(gone(&first.config, &first.confirmations), None);
        assert_eq!(gone(&built_in, &ConfirmationStore::default()), None);
    }

    #[test]
    fn what_nobody_confirmed_gives_way_and_what_is_to_be_confirmed_falls_back_to_what_was() {
        let home = home();
        let good = keep(start(&home, true, None).unwrap()).in_force.reference();
        write(&home, &GOOD.replace("[zone]", "").replace("[geo]", "[zone]\nname = \"new\"\n[geo]"));
        let Start { in_force, files, mut confirmations, begin, .. } =
            start(&home, true, Some(Duration::from_secs(60))).unwrap();
        let tried = in_force.reference();
        let Beginning::Files(Some(fallback)) = begin else { panic!("{begin:?}") };
        assert_eq!(fallback.reference(), good);
        confirmations.keep_pending(&tried, Duration::from_secs(60), &files.compiled_from()).unwrap();
        for outlives in [true, false] {
            let next = start(&home, outlives, None).unwrap();
            assert!(matches!(next.begin, Beginning::Reverted), "{:?}", next.begin);
            let what = format!("policy {tried} was not confirmed: {good} is in force again");
            assert_eq!(next.reverted, Some(what));
            assert_eq!(next.in_force.reference(), good);
        }
        // So does one that is in no file: `try` put it on trial.
        let held = fs::read_to_string(home.path().join("config.toml")).unwrap();
        write(&home, GOOD);
        let next = start(&home, true, None).unwrap();
        assert!(matches!(next.begin, Beginning::Files(None)) && next.in_force.reference() == good);
        assert_eq!(next.reverted, Some(format!("policy {tried} was not confirmed: {good} is in force again")));
        fs::write(home.path().join("config.toml"), held).unwrap();
        // Without a last good one it is on trial again.
        fs::remove_file(home.path().join("state/confirmed.json")).unwrap();
        let next = start(&home, true, None).unwrap();
        assert!(matches!(next.begin, Beginning::Files(None)) && next.in_force.reference() == tried);
    }

    #[test]
    fn a_state_that_others_can_write_decides_nothing() {
        let home = home();
        let kept = keep(start(&home, true, None).unwrap());
        let state = home.path().join("state");
        let observe = Wanted { mode: Mode::Observe, lasts: None, reason: "a test".into() };
        kept.by_hand.with(Some(observe), &TrustedClock::default().map()).keep().unwrap();
        assert_eq!(start(&home, true, None).unwrap().by_hand.mode(), Some(Mode::Observe));
        let others = [carried::FILE, budgets::store::FILE].map(|file| state.join(file));
        others.iter().for_each(|file| fs::write(file, "").unwrap());
        for path in others.into_iter().chain([state.join("mode.json"), state.clone()]) {
            let before = fs::metadata(&path).unwrap().permissions();
            fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | 0o002)).unwrap();
            let next = start(&home, true, None).unwrap();
            assert_eq!((next.by_hand.mode(), next.confirmations.confirmed()), (None, None));
            assert!(next.confirmations.state().refused().unwrap().contains("can be written by others"));
            fs::set_permissions(&path, before).unwrap();
        }
    }

    #[test]
    fn enforce_by_hand_is_refused_to_files_that_lack_what_it_needs() {
        let home = home();
        let kept = keep(start(&home, true, None).unwrap());
        let enforce = Wanted { mode: Mode::Enforce, lasts: None, reason: "a test".into() };
        kept.by_hand.with(Some(enforce), &TrustedClock::default().map()).keep().unwrap();
        write(&home, "[monitor]\nmode = \"observe\"\n");
        let next = start(&home, true, None).unwrap();
        assert!(matches!(next.begin, Beginning::LastGood));
        let why = &next.in_force.last_good.as_ref().unwrap().refused;
        assert!(why.contains("enforce needs [management]"), "{why}");
    }
}
