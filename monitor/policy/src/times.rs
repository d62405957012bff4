//! Rules in, notices of their beginnings and ends out: `check` and `status` list those that are near, the engine raises
//! each once.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    policy::RuleInfo,
    text::{counted, time},
};

const DAY: i64 = 86_400;

/// Days before its end at which a rule raises a warning.
pub const WARN_DAYS: [i64; 3] = [30, 7, 1];

/// Rules named in one line; more are counted.
const NAMED: usize = 10;

/// A rule that begins or ends soon, or has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Upcoming {
    /// Its id.
    pub rule: String,
    /// `begins`, `expires`, `expired`.
    pub what: String,
    /// When, RFC 3339.
    pub at: String,
    /// Seconds until then; negative: since then.
    pub seconds: i64,
}

/// Rules that begin, that end within 30 days, or that have ended, at `now` (seconds since 1970), soonest first.
pub fn upcoming(rules: &[RuleInfo], now: i64) -> Vec<Upcoming> {
    let mut all = Vec::new();
    for rule in rules {
        let of = |what: &str, at: i64| Upcoming {
            rule: rule.id.clone(),
            what: what.into(),
            at: time(at),
            seconds: at.saturating_sub(now),
        };
        match rule.expires {
            Some(end) if end <= now => all.push(of("expired", end)),
            Some(end) if end.saturating_sub(now) <= WARN_DAYS[0] * DAY => all.push(of("expires", end)),
            _ => {}
        }
        if let Some(begin) = rule.not_before.filter(|begin| *begin > now) {
            all.push(of("begins", begin));
        }
    }
    all.sort_by(|a, b| (a.seconds, &a.rule).cmp(&(b.seconds, &b.rule)));
    all
}

/// What a notice announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// Rules that will hold from a time on.
    Begins,
    /// Rules that have begun to hold.
    Began,
    /// Rules that end within so many days.
    Ends(i64),
    /// Rules that have ended.
    Ended,
}

/// One announcement on one or more rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it announces.
    pub event: Event,
    /// The announcement as text, rules by id.
    pub text: String,
}

/// What has been announced of each rule: once each, also where another policy has the rule unchanged.
#[derive(Debug, Default)]
pub struct Announced {
    /// By id, beginning and end.
    rules: HashMap<(String, Option<i64>, Option<i64>), Stage>,
}

/// Which announcements on a rule have been made.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    /// Its beginning was announced ahead.
    awaited: bool,
    /// Its beginning was announced when it came.
    began: bool,
    /// How many warnings were announced or skipped, the end included.
    warned: usize,
}

impl Announced {
    /// What is to be announced of these rules at `now` (seconds since 1970) and has not been yet.
    pub fn news(&mut self, rules: &[RuleInfo], now: i64) -> Vec<Notice> {
        let mut news: Vec<(Event, String)> = Vec::new();
        let timed = rules.iter().filter(|rule| rule.not_before.is_some() || rule.expires.is_some());
        let mut known = HashMap::new();
        for rule in timed {
            let key = (rule.id.clone(), rule.not_before, rule.expires);
            let mut stage = self.rules.remove(&key).unwrap_or_default();
            if let Some(begin) = rule.not_before {
                if begin > now && !stage.awaited {
                    stage.awaited = true;
                    news.push((Event::Begins, format!("{} from {} on", rule.id, time(begin))));
                } else if begin <= now && stage.awaited && !stage.began {
                    stage.began = true;
                    news.push((Event::Began, rule.id.clone()));
                }
            }
            if let Some(end) = rule.expires {
                let left = end.saturating_sub(now);
                let passed = WARN_DAYS.iter().filter(|days| left <= **days * DAY).count() + usize::from(left <= 0);
                if passed > stage.warned {
                    stage.warned = passed;
                    let event = WARN_DAYS.get(passed - 1).map_or(Event::Ended, |days| Event::Ends(*days));
                    news.push((event, format!("{} at {}", rule.id, time(end))));
                }
            }
            known.insert(key, stage);
        }
        // Rules that have left the policy are forgotten.
        self.rules = known;
        news.sort();
        news.chunk_by(|a, b| a.0 == b.0).map(|of| notice(of[0].0, of)).collect()
    }
}

fn notice(event: Event, of: &[(Event, String)]) -> Notice {
    let names: Vec<&str> = of.iter().take(NAMED).map(|(_, text)| text.as_str()).collect();
    let more = match of.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {}", counted(more, "more rule")),
    };
    let names = format!("{}{more}", names.join(", "));
    let text = match event {
        Event::Begins => format!("will hold: {names}"),
        Event::Began => format!("hold now: {names}"),
        Event::Ends(days) => format!("expire within {}: {names}; renew or remove them", counted(days as usize, "day")),
        Event::Ended => format!("expired: {names}; their traffic falls to other rules or the zone default now"),
    };
    Notice { event, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, not_before: Option<i64>, expires: Option<i64>) -> RuleInfo {
        RuleInfo { id: id.into(), not_before, expires, ..RuleInfo::default() }
    }

    const END: i64 = 100 * DAY;

    #[test]
    fn each_warning_comes_once_and_one_that_is_late_stands_for_those_before() {
        let rules = [rule("a", None, Some(END)), rule("never", None, None)];
        let mut announced = Announced::default();
        let mut events = Vec::new();
        for hour in 0..=101 * 24 {
            events.extend(announced.news(&rules, hour * 3_600).into_iter().map(|notice| (notice.event, hour)));
        }
        let hours = [70, 93, 99, 100].map(|day| day * 24);
        let expected = [Event::Ends(30), Event::Ends(7), Event::Ends(1), Event::Ended].into_iter().zip(hours);
        assert_eq!(events, expected.collect::<Vec<_>>());
        // First seen two days before the end: one warning, and not three.
        let news = Announced::default().news(&rules, END - 2 * DAY);
        let text = "expire within 7 days: a at 1970-04-11T00:00:00Z; renew or remove them";
        assert_eq!(news, [Notice { event: Event::Ends(7), text: text.into() }]);
    }

    #[test]
    fn a_beginning_is_announced_and_reported_and_a_renewed_rule_is_warned_of_anew() {
        let mut announced = Announced::default();
        let first = [rule("a", Some(DAY), Some(END))];
        let news = |announced: &mut Announced, rules: &[RuleInfo], now| {
            announced.news(rules, now).into_iter().map(|notice| notice.event).collect::<Vec<_>>()
        };
        assert_eq!(news(&mut announced, &first, 0), [Event::Begins]);
        assert_eq!(news(&mut announced, &first, 1), []);
        assert_eq!(news(&mut announced, &first, DAY), [Event::Began]);
        assert_eq!(news(&mut announced, &first, END - 1), [Event::Ends(1)]);
        // Another policy with the same rule: no news.
        let second = [rule("b", None, None), first[0].clone()];
        assert_eq!(news(&mut announced, &second, END - 1), []);
        let renewed = [rule("a", Some(DAY), Some(END + 20 * DAY))];
        assert_eq!(news(&mut announced, &renewed, END), [Event::Ends(30)]);
        // Begun before it was ever seen: nothing to announce.
        assert_eq!(news(&mut Announced::default(), &[rule("c", Some(1), None)], DAY), []);
    }

    #[test]
    fn many_rules_make_one_notice_that_counts_them() {
        let rules: Vec<_> = (0..2_000).map(|number| rule(&format!("r{number:04}"), None, Some(END))).collect();
        let news = Announced::default().news(&rules, END);
        assert_eq!(news.len(), 1);
        assert!(news[0].text.contains("r0009") && !news[0].text.contains("r0010"), "{}", news[0].text);
        assert!(news[0].text.contains(" and 1,990 more rules;"), "{}", news[0].text);
        let near = upcoming(&rules, END - 30 * DAY);
        assert_eq!((near.len(), near[0].what.as_str(), near[0].seconds), (2_000, "expires", 30 * DAY));
        assert!(upcoming(&rules, END - 30 * DAY - 1).is_empty());
        assert_eq!(upcoming(&[rule("x", Some(5), Some(9))], 10)[0].what, "expired");
    }
}
