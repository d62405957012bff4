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
    let line = |of: &&CutOff| format!("{} {} ({}): {}, {}", of.what, of.address, of.by, of.class, of.country);
    let mut lines: Vec<String> = sorted.iter().take(LINES).map(line).collect();
    if let Some(more @ 1..) = found.len().checked_sub(LINES) {
        lines.push(format!("and {} more: --json has all", count(more as u128)));
    }
    lines
}
