//! What an import writes, leaves out, and leaves alone.

use super::*;

fn args(inputs: &[&Path], out: &Path) -> Args {
    Args {
        inputs: inputs.iter().map(|file| file.to_path_buf()).collect(),
        out: out.into(),
        kind: None,
        name: None,
        version: Some("7".into()),
        built: Some("2026-06-01T00:00:00Z".parse().unwrap()),
        attribution: None,
        provenance: Some("a test".into()),
        shape: Shape::default(),
    }
}

#[test]
fn two_families_from_two_files_become_one_dataset_and_bad_input_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("4.csv"), "192.0.2.0/24,DE\n").unwrap();
    std::fs::write(path("6.csv"), "2001:db8::/32,SG\n").unwrap();
    let out = path("both.egm.zst");
    run(&args(&[&path("4.csv"), &path("6.csv")], &out)).unwrap();
    let opened = geo::open_file(&out).unwrap();
    assert_eq!((opened.dataset.v4.len(), opened.dataset.v6.len()), (1, 1));
    let about = &opened.dataset.about;
    assert_eq!((about.name.as_str(), about.version.as_str()), ("both", "7"));
    assert_eq!((about.built, about.provenance.as_str()), (Some(1_780_272_000), "a test"));

    let before = std::fs::read(&out).unwrap();
    std::fs::write(path("4b.csv"), "192.0.2.128/25,NO\n").unwrap();
    let error = run(&args(&[&path("4.csv"), &path("4b.csv")], &out)).unwrap_err();
    assert!(matches!(error, CliError::Geo(_)));
    assert_eq!(
        error.to_string(),
        format!(
            "{}: places 192.0.2.128 again, which {} does too: give files that do not overlap, or import them one by one",
            path("4b.csv").display(),
            path("4.csv").display()
        )
    );
    assert_eq!(std::fs::read(&out).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "a temporary file was left");
}

#[test]
fn the_outputs_name_and_folder_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("4.csv");
    std::fs::write(&csv, "192.0.2.0/24,DE\n").unwrap();
    let error = run(&args(&[&csv], Path::new("x.bin"))).unwrap_err();
    assert_eq!(error.to_string(), "--out x.bin: a compact dataset's name ends in .egm or .egm.zst: add that");
    let out = dir.path().join("none/x.egm");
    let error = run(&args(&[&csv], &out)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: No such file or directory (os error 2): check folder and permissions", out.display())
    );
}

#[test]
fn overlays_and_as_numbers_are_imported_and_the_same_input_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let list = r#"{"createDate": "2026-06-01-00-00-00", "prefixes": [
        {"ip_prefix": "192.0.2.0/24", "region": "eu-west-1"}, {"ip_prefix": "198.51.100.0/24", "region": "GLOBAL"},
        {"ip_prefix": "203.0.113.0/24", "region": "moon-1"}]}"#;
    std::fs::write(path("aws.json"), list).unwrap();
    std::fs::write(path("4.csv"), "192.0.2.0/24,64500,A\n").unwrap();
    std::fs::write(path("6.csv"), "2001:db8::/32,64501,B\n").unwrap();
    let out = path("aws.egm.zst");
    let of = |inputs: &[&Path], out: &Path, kind| Args { built: None, kind, ..args(inputs, out) };
    let written = import(&of(&[&path("aws.json")], &out, None)).unwrap();
    assert_eq!((written.kind, written.ipv4_ranges, written.rejected.count), ("overlay", 3, 1));
    assert_eq!(written.built.as_deref(), Some("2026-06-01T00:00:00Z"));
    let shown = render::geo::imported(&written);
    assert!(shown.contains("1 left out: 1 unknown region\n  prefixes[2]: region \"moon-1\" of"), "{shown}");
    assert!(shown.contains("built 2026-06-01T00:00:00Z, "), "{shown}");
    let first = std::fs::read(&out).unwrap();
    import(&of(&[&path("aws.json")], &out, None)).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), first);
    assert_eq!(overlay::open(&out).unwrap().v4.len(), 3);

    let out = path("asn.egm.zst");
    let (four, six) = (path("4.csv"), path("6.csv"));
    let written = import(&of(&[&four, &six], &out, Some(Kind::Asn))).unwrap();
    assert_eq!((written.kind, written.ipv4_ranges, written.ipv6_ranges), ("asn", 1, 1));
    assert!(render::geo::imported(&written).contains("no date in it: give --built"));
    let dataset = asn::open(&out).unwrap();
    assert_eq!(dataset.lookup("2001:db8::1".parse().unwrap()), Some((64_501, "B")));
    let error = import(&of(&[&four, &four], &out, Some(Kind::Asn))).err().unwrap().to_string();
    assert!(error.ends_with("give files that do not overlap, or import them one by one"), "{error}");
}

#[test]
fn what_is_wrong_is_left_out_of_an_import_and_reported_with_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (csv, out) = (dir.path().join("a.csv"), dir.path().join("a.egm"));
    std::fs::write(&csv, "192.0.2.0/24,DE\n198.51.100.0/24,SG\n2001:db8::/32,NO\n203.0.113.0/24,XYZ\nx,DE\n").unwrap();
    let written = import(&args(&[&csv], &out)).unwrap();
    assert_eq!(written.rejected.summary(), "2 left out: 1 no address, 1 no country code");
    assert!(
        render::geo::imported(&written).contains("\n  line 5: \"x\" is no IP address"),
        "{}",
        render::geo::imported(&written)
    );
    // As a source of a policy the same file is refused, and what was imported from it is not.
    assert!(geo::open_file(&csv).unwrap_err().to_string().contains("a.csv:4: \"XYZ\" is not a country code"));
    assert_eq!(geo::open_file(&out).unwrap().dataset.v4.len(), 2);
}
