//! A process that writes is killed, again and again: what it said was durable is there.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::super::files::Directory;
use super::*;

const DIRECTORY: &str = "DIRECTORY_OF_A_LOG_THAT_IS_KILLED";
const NAME: &str = "storage::segments::tests::kill::whoever_is_killed_has_lost_nothing_that_was_committed";

/// Segments of a few hundred lines, and all of them kept.
const SETTINGS: Settings = Settings { segment: 32 << 10, keep: 1 << 30, reserve: 4 << 10 };

/// Commits lines and says of each commit up to where it is durable; until it is killed.
fn write_for_ever(directory: &Path) {
    let (mut log, _) = Log::open(Arc::new(Directory::open(directory).unwrap()), SETTINGS).unwrap();
    let mut out = std::io::stdout();
    loop {
        for _ in 0..=log.next() % 64 {
            log.push(line);
        }
        log.commit().unwrap();
        writeln!(out, "durable {}", log.next() - 1).unwrap();
    }
}

/// In processes of their own: eight kills, or as many as KILLS says.
#[test]
fn whoever_is_killed_has_lost_nothing_that_was_committed() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return write_for_ever(Path::new(&directory));
    }
    let kills = std::env::var("KILLS").map_or(8, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(std::env::var("SEED").map_or(7, |seed| seed.parse().unwrap()));
    let mut durable = 0_u64;
    for kill in 0..kills {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", NAME]).env(DIRECTORY, folder.path().join("log"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        // Some after the first commit, and some while a segment ends.
        let mut wanted = random.usize(1..20);
        let mut killed = false;
        for said in out.lines() {
            let said = said.unwrap();
            let Some(number) = said.split("durable ").nth(1) else { continue };
            durable = number.parse().unwrap();
            wanted = wanted.saturating_sub(1);
            if wanted == 0 && !killed {
                std::thread::sleep(Duration::from_micros(random.u64(0..5_000)));
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "kill {kill}: it ended by itself");
        let directory = Arc::new(Directory::open(&folder.path().join("log")).unwrap());
        let (log, recovered) = Log::open(directory, SETTINGS).unwrap();
        assert_eq!(recovered.gone, None);
        assert!(log.next() > durable, "kill {kill}: {durable} were durable, and {} is next", log.next());
        if kill % 8 == 7 || kill + 1 == kills {
            let mut reader = Reader::new(&format!("all{kill}"), Arc::clone(&log.files), Arc::clone(&log.shared), 1);
            let (got, missing) = drain(&mut reader, 256, true);
            assert_eq!((got, missing), ((1..log.next()).collect(), vec![]), "kill {kill}");
        }
    }
    println!("proven: times that a process was killed which writes to an outbox: {kills}");
    println!("proven: lines that these had called durable, none missing: {durable}");
}
