//! What a host needs and would lose in, lines for people out. Used by the pages of `check` and `run`.

use monitor_api::needs::CutOff;
use monitor_policy::text::count;

/// Lines of a page; `--json` has all.
const LINES: usize = 12;

/// A line each, the most important ones first.
pub fn cut_off(found: &[CutOff]) -> Vec<String> {
    let rank = |of: &&CutOff| match of.what.as_str() {
        "gateway" => 0,
        "resolver" => 1,
        "open connection" => 2,
        _ => 3,
    };
    let mut sorted: Vec<&CutOff> = found.iter().collect();
    sorted.sort_by_key(rank);
    // What nobody places has no country.
    let country = |of: &CutOff| if of.country == "--" { String::new() } else { format!(", {}", of.country) };
    let line = |of: &&CutOff| format!("{} {} ({}): {}{}", of.what, of.address, of.by, of.class, country(of));
    let mut lines: Vec<String> = sorted.iter().take(LINES).map(line).collect();
    if let Some(more @ 1..) = found.len().checked_sub(LINES) {
        lines.push(format!("and {} more: --json has all", count(more as u128)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hurts_first_comes_first_and_what_is_too_much_for_a_page_is_counted() {
        let of = |what: &str, number: u8, country: &str| CutOff {
            what: what.into(),
            by: "resolv.conf".into(),
            address: [192, 0, 2, number].into(),
            protocol: 17,
            class: "outside".into(),
            country: country.into(),
        };
        let few = [of("time server", 1, "SG"), of("gateway", 2, "--")];
        assert_eq!(
            cut_off(&few),
            ["gateway 192.0.2.2 (resolv.conf): outside", "time server 192.0.2.1 (resolv.conf): outside, SG"]
        );
        let many: Vec<CutOff> = (0..30).map(|number| of("resolver", number, "SG")).collect();
        let lines = cut_off(&many);
        assert_eq!((lines.len(), lines[LINES].as_str()), (LINES + 1, "and 18 more: --json has all"));
        assert_eq!(cut_off(&[]), [""; 0]);
    }
}
