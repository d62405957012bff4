//! What is taken, what is held, what is refused.

mod whole;

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
};

use monitor_api::geo::{RolledBack, Staged};
use monitor_policy::geo::{Country, Dataset, Range, compact};

use super::*;
use crate::config::Geo;

/// 2026-06-10.
const NOW: i64 = 1_781_049_600;

/// Signed by [`KEY`]: what [`data`] gives of 2026-06-02.
const SIGNATURE: &str = "untrusted comment: signature of a test
RUR0ZXN0a2V5MbKv+Ksv5umYh7/AQdkRx6aObs7Da7F3fyxDVgf+lX/Uk//+59zV3heC/drPgfl86s0tg4mS62qHLA4UQDukxgI=
trusted comment: timestamp:1780358400\tfile:country.csv\thashed
53wjrzxZwDdVvzOxbtIo2E07OCdIjxyAm5cVPw5YOZmmUIWhgSSwjWn+MVhrKU31iO/7J/UBUBhM3l0Aek01CQ==
";
const SIGNED_SHA256: &str = "2570312bd37032663bc7573f3c2d3629f84a71d75370227757cbb3dd2c0a9b0f";
const KEY: &str = "untrusted comment: a test's\nRWR0ZXN0a2V5MepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs\n";
/// Of another number, and of the same number.
const OTHER_KEYS: [&str; 2] = [
    "RWR0ZXN0a2V5Mv0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY",
    "RWR0ZXN0a2V5Mf0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY",
];

/// A dataset of 5.0.0.0 and up, a /24 in Germany and one in the US by turns: as many addresses on either side of the border.
fn data(built: &str, ranges: usize) -> String {
    let line = |at: usize| {
        let (high, low) = (at / 256, at % 256);
        format!("5.{high}.{low}.0,5.{high}.{low}.255,{}\n", if at.is_multiple_of(2) { "DE" } else { "US" })
    };
    format!("# built: {built}\n{}", (0..ranges).map(line).collect::<String>())
}

/// As much as it takes for the border of [`data`] to move by this many addresses.
fn moved(built: &str, by: usize) -> String {
    let of = |last: usize, first: usize| format!("5.0.0.0,5.0.1.{last},DE\n5.0.1.{first},5.0.1.255,US\n");
    data(built, 100).replace("5.0.0.0,5.0.0.255,DE\n5.0.1.0,5.0.1.255,US\n", &of(by - 1, by))
}

struct Bench {
    folder: tempfile::TempDir,
    config: Config,
}

impl Bench {
    /// `country.csv` is in place, of 2026-06-01.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = Config::default();
        config.paths.state = folder.path().join("state");
        config.geo.sources = vec![folder.path().join("country.csv").display().to_string()];
        let bench = Self { folder, config };
        bench.write("country.csv", data("2026-06-01", 100));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        file
    }

    fn in_place(&self) -> String {
        fs::read_to_string(self.path("country.csv")).unwrap()
    }

    fn wanted(&self, fresh: Fresh, accept: bool) -> Wanted {
        Wanted { file: self.path("country.csv"), fresh, proof: Proof::default(), accept }
    }

    fn stage(&self, wanted: &Wanted) -> Result<Staged, RefreshError> {
        Refresher::open(&self.config, NOW, &|_, _| None)?.stage(wanted)
    }

    /// Drops a file, and stages it.
    fn drop(&self, content: impl AsRef<[u8]>) -> Staged {
        let fresh = self.write("fresh", content);
        self.stage(&self.wanted(Fresh::Dropped(fresh), false)).unwrap()
    }

    fn accept(&self) -> Result<Staged, RefreshError> {
        self.stage(&self.wanted(Fresh::Aside, true))
    }

    fn roll_back(&self) -> Result<RolledBack, RefreshError> {
        Refresher::open(&self.config, NOW, &|_, _| None)?.roll_back(&self.path("country.csv"))
    }

    fn note(&self) -> RefreshNote {
        let notes: RefreshNotes = StateDirectory::open(&self.config.paths.state).read(FILE).unwrap_or_default();
        notes.files.get(&self.path("country.csv")).cloned().unwrap_or_default()
    }

    /// The copies that are kept.
    fn copies(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.path("state/geo"));
        files.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn is_refused(&self, staged: &Staged, why: &str) {
        assert_eq!(staged.outcome, "refused", "{staged:?}");
        assert!(staged.reasons[0].contains(why), "{why}: {:?}", staged.reasons);
        assert_eq!(self.in_place(), data("2026-06-01", 100), "{why}");
        let aside = self.note().aside.unwrap();
        assert_eq!((aside.kind, aside.why, aside.at), (AsideKind::Refused, staged.reasons[0].clone(), NOW));
        // Nobody takes it, since no copy is kept.
        assert_eq!(self.copies(), BTreeSet::new());
        assert!(matches!(self.accept(), Err(RefreshError::NothingAside(_))));
    }
}

#[test]
fn fresh_data_is_put_in_place_with_what_was_there_kept_and_only_once() {
    let bench = Bench::new();
    let (old, new) = (data("2026-06-01", 100), moved("2026-06-02", 128));
    // Who may read it stays as it is.
    fs::set_permissions(bench.path("country.csv"), fs::Permissions::from_mode(0o640)).unwrap();
    let staged = bench.drop(&new);
    let change = staged.change.clone().unwrap();
    assert_eq!((staged.outcome, staged.reasons.len(), staged.read_by_itself), ("taken", 0, true), "{staged:?}");
    let built = |at: &str| Some(format!("{at}T00:00:00Z"));
    assert_eq!((staged.built, staged.built_before), (built("2026-06-02"), built("2026-06-01")));
    assert_eq!((change.ipv4.ranges, change.ipv4.moved, change.ipv4.smaller_side), (100, "128".into(), "12800".into()));
    assert_eq!(bench.in_place(), new);
    assert_eq!(fs::metadata(bench.path("country.csv")).unwrap().permissions().mode() & 0o777, 0o640);
    let note = bench.note();
    assert_eq!(note.taken.map(|taken| (taken.sha256, taken.at)), Some((sha256(new.as_bytes()), NOW)));
    assert_eq!(note.previous, Some(sha256(old.as_bytes())));
    assert_eq!((note.aside, bench.copies()), (None, [sha256(old.as_bytes())].into()));
    assert_eq!(bench.drop(&new).outcome, "in_place");
    assert_eq!(bench.note().previous, Some(sha256(old.as_bytes())), "one and the same file is no step");
    // Nothing is left but what is meant to be.
    let mut names: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|of| of.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["country.csv", "fresh", "state"]);
    let nothing = bench.wanted(Fresh::Dropped(bench.path("none")), false);
    assert_eq!(bench.stage(&nothing).unwrap().outcome, "nothing");
}

#[test]
fn what_is_damaged_or_not_what_was_signed_is_refused_and_nobody_can_take_it() {
    let bench = Bench::new();
    let good = data("2026-06-02", 100);
    let cut = &good[..good.len() - 8];
    bench.is_refused(&bench.drop(cut), "the fresh file:101: \"5.0.99\" is no IP address");
    bench.is_refused(&bench.drop(good.replace("US", "U5")), "the fresh file:3: ");
    bench.is_refused(&bench.drop(""), "the fresh file: ");
    let dataset = Dataset { v4: vec![Range { first: 1, last: 2, country: Country(*b"DE") }], ..Dataset::default() };
    let packed = compact::compress(&compact::encode(&dataset).unwrap());
    bench.is_refused(&bench.drop(&packed[..packed.len() - 3]), "the fresh file: ");

    let fresh = bench.write("fresh", &good);
    let by =
        |proof: Proof| bench.stage(&Wanted { proof, ..bench.wanted(Fresh::Dropped(fresh.clone()), false) }).unwrap();
    let pinned = |sha256: &str| Proof { sha256: Some(sha256.into()), ..Proof::default() };
    bench.is_refused(&by(pinned(&"0".repeat(64))), "its SHA-256 is 2570312b");
    let timer = || Proof { needed: true, ..Proof::default() };
    bench.is_refused(&by(timer()), "nothing vouches for it: write its checksum beside it");
    bench.write("fresh.sha256", format!("{}  fresh\n", "0".repeat(64)));
    bench.is_refused(&by(timer()), "fresh.sha256: it is cut");
    bench.is_refused(&by(Proof::default()), "fresh.sha256: it is cut");

    let key = bench.write("publisher.pub", KEY);
    let signed = || Proof { keys: vec![key.clone()], ..Proof::default() };
    bench.is_refused(&by(signed()), "fresh.minisig is not there");
    for (signature, why) in [
        ("", "no signature of minisign"),
        (&SIGNATURE[..SIGNATURE.len() - 40], "no signature of minisign"),
        (&SIGNATURE.replace("country.csv", "another.csv"), "the signature does not hold"),
        (&"x".repeat(20_000), "longer than a key"),
    ] {
        bench.write("fresh.minisig", signature);
        bench.is_refused(&by(signed()), why);
    }
    bench.write("fresh.minisig", SIGNATURE);
    for other in OTHER_KEYS {
        let proof = Proof { keys: vec![bench.write("other.pub", other)], ..Proof::default() };
        bench.is_refused(&by(proof), "the signature does not hold");
    }
    bench.is_refused(&by(Proof { keys: vec![bench.path("none.pub")], ..Proof::default() }), "none.pub: no such file");
    // A pin that is wrong is no better for a signature that holds.
    bench.is_refused(&by(Proof { sha256: pinned(&"0".repeat(64)).sha256, ..signed() }), "its SHA-256 is");
    bench.write("fresh", good.replacen("DE", "FR", 1));
    bench.is_refused(&by(signed()), "the signature does not hold");

    bench.write("fresh", &good);
    let staged = by(Proof { keys: vec![bench.path("other.pub"), key.clone()], ..Proof::default() });
    assert_eq!((staged.outcome, staged.proof), ("taken", Some("minisign")));
    assert_eq!((bench.in_place(), bench.note().aside), (good, None));
}

#[test]
fn a_checksum_beside_a_file_or_given_vouches_for_it() {
    for (proof, beside) in [
        (Proof { sha256: Some(SIGNED_SHA256.into()), ..Proof::default() }, None),
        (Proof { needed: true, ..Proof::default() }, Some(format!("{}  country.csv\n", SIGNED_SHA256.to_uppercase()))),
        (Proof { needed: true, ..Proof::default() }, Some(SIGNED_SHA256.to_owned())),
    ] {
        let bench = Bench::new();
        let fresh = bench.write("fresh", data("2026-06-02", 100));
        if let Some(text) = beside {
            bench.write("fresh.sha256", text);
        }
        let staged = bench.stage(&Wanted { proof, ..bench.wanted(Fresh::Dropped(fresh), false) }).unwrap();
        assert_eq!((staged.outcome, staged.proof), ("taken", Some("sha256")));
    }
}

#[test]
fn what_changes_too_much_is_held_and_exactly_that_is_taken_when_somebody_says_so() {
    let before = data("2026-06-01", 100);
    let ended = |text: &str| text.trim_end().to_owned();
    for (fresh, why) in [
        (
            data("2026-05-31", 100),
            &["it was built 2026-05-31T00:00:00Z, and what is in place later, 2026-06-01T00:00:00Z"][..],
        ),
        (data("2026-06-11T00:00:01Z", 100), &["it says that it was built 2026-06-11T00:00:01Z, which is to come"]),
        (before.lines().skip(1).fold(String::new(), |text, line| text + line + "\n"), &["it has no date inside"]),
        (
            data("2026-06-02", 89),
            &["it has 89 IPv4 ranges, and what is in place 100", "1,280 addresses of IPv4 change"],
        ),
        (
            data("2026-06-02", 111),
            &["it has 111 IPv4 ranges, and what is in place 100", "1,536 addresses of IPv4 change"],
        ),
        (
            data("2026-06-02", 100) + "2a00::/32,FR\n",
            &[
                "it has 1 IPv6 range, and what is in place 0",
                "79,228,162,514,264,337,593,543,950,336 addresses of IPv6 change",
            ],
        ),
        (
            moved("2026-06-02", 129),
            &["129 addresses of IPv4 change sides of the border, whose smaller side has 12,800"],
        ),
        (ended(&data("2026-06-02", 100)), &["its last line has no end"]),
    ] {
        let bench = Bench::new();
        let staged = bench.drop(&fresh);
        assert_eq!(staged.outcome, "held", "{why:?}: {staged:?}");
        assert_eq!(staged.reasons.len(), why.len(), "{:?}", staged.reasons);
        for (reason, why) in staged.reasons.iter().zip(why) {
            assert!(reason.starts_with(why), "{reason}");
        }
        assert_eq!(bench.in_place(), before);
        let aside = bench.note().aside.unwrap();
        assert_eq!((aside.kind, &aside.sha256, aside.at), (AsideKind::Held, &sha256(fresh.as_bytes()), NOW));
        assert_eq!((bench.note().previous, bench.copies()), (None, [aside.sha256].into()));
        // Whatever has been dropped since.
        bench.write("fresh", "another");
        let staged = bench.accept().unwrap();
        assert_eq!((staged.outcome, staged.reasons.len()), ("taken", why.len()));
        assert_eq!((bench.in_place(), bench.note().aside), (fresh, None));
        assert_eq!(bench.copies(), [sha256(before.as_bytes())].into());
        assert!(matches!(bench.accept(), Err(RefreshError::NothingAside(_))));
    }
    // Just not too much.
    for fresh in [data("2026-06-01", 100) + "# another\n", data("2026-06-11", 100), moved("2026-06-01T00:00:00Z", 128)]
    {
        assert_eq!(Bench::new().drop(fresh).outcome, "taken");
    }
    // Half a hundredth more.
    let bench = Bench::new();
    bench.write("country.csv", data("2026-06-01", 10_000));
    let fresh = data("2026-06-02", 10_050);
    assert_eq!(bench.drop(fresh).outcome, "taken");
}

#[test]
fn what_is_held_is_so_since_it_came_and_is_forgotten_when_something_better_is_taken() {
    let bench = Bench::new();
    let held = moved("2026-06-02", 129);
    assert_eq!(bench.drop(&held).outcome, "held");
    let fresh = Fresh::Dropped(bench.write("fresh", &held));
    let mut later = Refresher::open(&bench.config, NOW + 86_400, &|_, _| None).unwrap();
    assert_eq!(later.stage(&bench.wanted(fresh, false)).unwrap().outcome, "held");
    drop(later);
    assert_eq!(bench.note().aside.unwrap().at, NOW);
    // Nothing new: what is held stays so.
    bench.stage(&bench.wanted(Fresh::Dropped(bench.path("none")), false)).unwrap();
    assert_eq!(bench.note().aside.unwrap().at, NOW);
    assert_eq!(bench.drop(data("2026-06-03", 100)).outcome, "taken");
    assert_eq!((bench.note().aside, bench.copies().len()), (None, 1));
    // So it is when what is in place is dropped.
    assert_eq!(bench.drop(&held).outcome, "held");
    assert_eq!(bench.drop(data("2026-06-03", 100)).outcome, "in_place");
    assert_eq!((bench.note().aside, bench.copies().len()), (None, 1));
}

#[test]
fn the_last_hours_destinations_count_as_the_border_does() {
    let bench = Bench::new();
    let fresh = Fresh::Dropped(bench.write("fresh", data("2026-06-02", 100)));
    let of = |moved, judged| {
        let examples = vec!["198.18.0.1".parse().unwrap()];
        let judge = move |_: &Side, _: &Side| Some(DestinationsChange { judged, moved, examples: examples.clone() });
        let mut refresher = Refresher::open(&bench.config, NOW, &judge).unwrap();
        refresher.stage(&bench.wanted(fresh.clone(), false)).unwrap()
    };
    let held = of(2, 199);
    let why = "2 of the last hour's 199 destinations change sides of the border (198.18.0.1): more than 1 %";
    assert_eq!((held.outcome, held.reasons), ("held", vec![why.to_owned()]));
    assert_eq!(of(2, 200).outcome, "taken");
}

#[test]
fn a_rollback_puts_back_what_was_there_once_and_what_it_took_back_is_not_taken_again_by_itself() {
    let bench = Bench::new();
    assert!(matches!(bench.roll_back(), Err(RefreshError::NothingBefore(_))));
    let [old, bad, good] = [data("2026-06-01", 100), moved("2026-06-02", 64), moved("2026-06-03", 32)];
    assert_eq!(bench.drop(&bad).outcome, "taken");
    let done = bench.roll_back().unwrap();
    assert_eq!((done.sha256, done.taken_back), (sha256(old.as_bytes()), sha256(bad.as_bytes())));
    assert_eq!(bench.in_place(), old);
    let note = bench.note();
    assert_eq!((note.waits(), note.previous.clone(), note.taken.clone()), (None, None, None), "{note:?}");
    assert!(matches!(bench.roll_back(), Err(RefreshError::NothingBefore(_))));
    assert_eq!((bench.drop(&bad).outcome, bench.in_place()), ("taken_back", old.clone()));
    assert_eq!(bench.drop(&good).outcome, "taken");
    assert_eq!(bench.drop(&bad).outcome, "taken_back");
    assert_eq!(bench.roll_back().unwrap().sha256, sha256(old.as_bytes()));
    // Somebody may have it after all.
    let fresh = Fresh::Dropped(bench.write("fresh", &bad));
    assert_eq!(bench.stage(&bench.wanted(fresh, true)).unwrap().outcome, "taken");
    assert_eq!(bench.in_place(), bad);
    assert_eq!(bench.note().taken_back, [sha256(good.as_bytes())]);
    // And what was taken back last, without its file.
    bench.roll_back().unwrap();
    assert_eq!((bench.accept().unwrap().outcome, bench.in_place()), ("taken", bad));
}

#[test]
fn what_is_in_place_and_can_not_be_read_is_replaced_when_somebody_says_so() {
    let bench = Bench::new();
    bench.write("country.csv", "nonsense\n");
    let good = data("2026-06-02", 100);
    let held = bench.drop(&good);
    assert_eq!(held.outcome, "held");
    assert!(held.reasons[0].starts_with("what is in place can't be read"), "{:?}", held.reasons);
    assert_eq!((bench.accept().unwrap().outcome, bench.in_place()), ("taken", good));
    // Nor does that hinder a rollback.
    assert_eq!(bench.drop(data("2026-06-03", 100)).outcome, "taken");
    bench.write("country.csv", "nonsense\n");
    bench.roll_back().unwrap();
    assert_eq!(bench.in_place(), data("2026-06-02", 100));
}
