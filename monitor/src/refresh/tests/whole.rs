//! Each file is whole, whatever happens and whatever is dropped; and what is read as what.

use super::*;

#[test]
fn neither_a_pipe_nor_a_link_to_nowhere_is_waited_for_and_what_others_can_write_is_refused_unless_it_is_signed() {
    let bench = Bench::new();
    let good = data("2026-06-02", 100);
    let pipe = bench.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let stage = |name: &str, keys: &[PathBuf]| {
        let proof = Proof { keys: keys.to_vec(), ..Proof::default() };
        bench.stage(&Wanted { proof, ..bench.wanted(Fresh::Dropped(bench.path(name)), false) }).unwrap()
    };
    bench.is_refused(&stage("pipe", &[]), "not a regular file");
    symlink(bench.path("none"), bench.path("nowhere")).unwrap();
    bench.is_refused(&stage("nowhere", &[]), "No such file");
    symlink(&pipe, bench.path("to-pipe")).unwrap();
    bench.is_refused(&stage("to-pipe", &[]), "not a regular file");
    // Beside it, and as a key.
    bench.write("fresh", &good);
    let key = bench.write("publisher.pub", KEY);
    assert!(Command::new("mkfifo").arg(bench.path("fresh.minisig")).status().unwrap().success());
    bench.is_refused(&stage("fresh", std::slice::from_ref(&key)), "not a regular file");
    fs::remove_file(bench.path("fresh.minisig")).unwrap();
    bench.write("fresh.minisig", SIGNATURE);
    bench.is_refused(&stage("fresh", std::slice::from_ref(&pipe)), "not a regular file");

    let open = |name: &str, mode| fs::set_permissions(bench.path(name), fs::Permissions::from_mode(mode)).unwrap();
    open("fresh", 0o666);
    bench.is_refused(&stage("fresh", &[]), "fresh can be written by others");
    open("publisher.pub", 0o666);
    bench.is_refused(&stage("fresh", std::slice::from_ref(&key)), "the key can be written by others");
    open("publisher.pub", 0o644);
    assert_eq!(stage("fresh", &[key]).outcome, "taken");
    assert_eq!(bench.in_place(), good);
}

#[test]
fn a_link_that_the_configuration_names_stays_one() {
    let bench = Bench::new();
    fs::create_dir(bench.path("versions")).unwrap();
    fs::rename(bench.path("country.csv"), bench.path("versions/1.csv")).unwrap();
    symlink("versions/1.csv", bench.path("country.csv")).unwrap();
    let fresh = data("2026-06-02", 100);
    assert_eq!(bench.drop(&fresh).outcome, "taken");
    assert!(fs::symlink_metadata(bench.path("country.csv")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(bench.path("versions/1.csv")).unwrap(), fresh);
}

#[test]
fn overlays_and_as_numbers_are_read_as_the_daemon_reads_them() {
    let mut bench = Bench::new();
    let asn = |ranges: usize| {
        let line = |at| format!("5.0.{at}.0,5.0.{at}.255,{},A\n", 64_500 + at);
        format!("# built: 2026-06-01\n{}", (0..ranges).map(line).collect::<String>())
    };
    let feed = |networks: usize| {
        let line = |at| format!("5.0.{}.0/24,NO,,,\n", 2 * at);
        format!("# built: 2026-06-01\n{}", (0..networks).map(line).collect::<String>())
    };
    let (overlay, numbers) = (bench.write("feed.csv", feed(20)), bench.write("asn.csv", asn(20)));
    bench.config.geo =
        Geo { overlays: vec![overlay.clone()], asn: Some(numbers.display().to_string()), ..bench.config.geo.clone() };
    let stage = |file: &Path, content: &str| {
        let fresh = Fresh::Dropped(bench.write("fresh", content));
        bench.stage(&Wanted { file: file.to_owned(), ..bench.wanted(fresh, false) }).unwrap()
    };
    for (file, of) in [(&overlay, &feed as &dyn Fn(usize) -> String), (&numbers, &asn)] {
        assert_eq!(stage(file, &of(22)).outcome, "taken");
        assert_eq!(fs::read_to_string(file).unwrap(), of(22));
        assert!(stage(file, &of(19)).reasons[0].starts_with("it has 19 IPv4 ranges, and what is in place 22"));
        assert_eq!(stage(file, "<html>no such page</html>\n").outcome, "refused");
    }
    // Each has a note of its own.
    let notes: RefreshNotes = StateDirectory::open(&bench.config.paths.state).read(FILE).unwrap();
    assert_eq!(notes.files.len(), 2);
    assert!(notes.files.values().all(|note| note.waits().is_some()));
    // That of a file which the configuration names no more is forgotten.
    bench.config.geo.asn = None;
    Refresher::open(&bench.config, NOW, &|_, _| None).unwrap().looked().unwrap();
    let notes: RefreshNotes = StateDirectory::open(&bench.config.paths.state).read(FILE).unwrap();
    assert_eq!((notes.looked, notes.files.into_keys().collect::<Vec<_>>()), (Some(NOW), vec![overlay]));
}

#[test]
fn of_two_at_once_one_is_told_to_wait_and_disturbs_nothing() {
    let bench = Bench::new();
    let fresh = Fresh::Dropped(bench.write("fresh", data("2026-06-02", 100)));
    let mut first = Refresher::open(&bench.config, NOW, &|_, _| None).unwrap();
    assert!(matches!(bench.stage(&bench.wanted(fresh.clone(), false)), Err(RefreshError::Busy)));
    assert!(matches!(bench.roll_back(), Err(RefreshError::Busy)));
    assert_eq!(first.stage(&bench.wanted(fresh.clone(), false)).unwrap().outcome, "taken");
    drop(first);
    assert_eq!(bench.stage(&bench.wanted(fresh, false)).unwrap().outcome, "in_place");
}

#[test]
fn a_state_of_a_later_version_is_left_alone() {
    let bench = Bench::new();
    fs::create_dir(bench.path("state")).unwrap();
    bench.write("state/FORMAT", "2\n");
    let fresh = Fresh::Dropped(bench.write("fresh", data("2026-06-02", 100)));
    let error = bench.stage(&bench.wanted(fresh, false)).unwrap_err().to_string();
    assert!(error.contains("use the version that wrote it"), "{error}");
    assert_eq!(bench.in_place(), data("2026-06-01", 100));
}

/// In a process of its own, which may write less than it has to: a full disk takes a part, and no more.
#[test]
fn a_full_disk_leaves_what_is_in_place_and_the_note_of_it() {
    const DIRECTORY: &str = "DIRECTORY_OF_A_FULL_DISK";
    // More than a MiB, of a file of 2 KiB.
    let large = data("2026-06-02", 60_000);
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let mut config = Config::default();
        let path = |name: &str| Path::new(&directory).join(name);
        config.paths.state = path("state");
        config.geo.sources = vec![path("country.csv").display().to_string()];
        let mut refresher = Refresher::open(&config, NOW, &|_, _| None).unwrap();
        for (accept, place) in [(false, "State"), (true, "Place")] {
            let fresh = Fresh::Dropped(path("fresh"));
            let wanted = Wanted { file: path("country.csv"), fresh, proof: Proof::default(), accept };
            let error = format!("{:?}", refresher.stage(&wanted).unwrap_err());
            assert!(error.starts_with(place) && error.contains("FileTooLarge"), "{error}");
        }
        return;
    }
    let bench = Bench::new();
    bench.write("fresh", large);
    let name = "refresh::tests::whole::a_full_disk_leaves_what_is_in_place_and_the_note_of_it";
    // A signal, unless that is ignored, comes before the error.
    let limited = format!("trap '' XFSZ; ulimit -f 1024; exec \"$0\" --exact {name}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &limited]).arg(std::env::current_exe().unwrap()).env(DIRECTORY, bench.folder.path());
    let ended = shell.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(bench.in_place(), data("2026-06-01", 100));
    assert_eq!(bench.note(), RefreshNote::default());
    assert!(matches!(bench.roll_back(), Err(RefreshError::NothingBefore(_))));
    // What was copied for nothing is removed by the next one.
    assert_eq!(bench.drop(data("2026-06-02", 100)).outcome, "taken");
    assert_eq!(bench.copies(), [sha256(data("2026-06-01", 100).as_bytes())].into());
}
