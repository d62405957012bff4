//! Rules in, what is to be said of their beginnings and ends out: in `check` and `status` what is near, and by the epoch
//! task each warning once.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::RuleInfo;
use crate::text::{counted, time};

const DAY: i64 = 86_400;

/// Days before its end at which a rule is warned of.
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
#[must_use]
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

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// It will hold from a time on.
    Begins,
    /// It holds since now.
    Began,
    /// It ends within so many days.
    Ends(i64),
    /// It has ended.
    Ended,
}

/// One thing to be told of one or more rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub event: Event,
    /// For people, rules by id.
    pub text: String,
}

/// What was told of which rule: once each, also when the policy is another and has the rule as it was.
#[derive(Debug, Default)]
pub struct Told {
    /// By id, begin and end.
    rules: HashMap<(String, Option<i64>, Option<i64>), Stage>,
}

/// How far a rule has come.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    /// It was told that it will begin.
    awaited: bool,
    /// It was told that it has begun.
    began: bool,
    /// How many of the warnings are told or passed by, the end included.
    warned: usize,
}

impl Told {
    /// What is to be told of these rules at `now` and was not told yet.
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
        // Those that are in the policy no more are forgotten.
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
        Event::Ended => format!("expired: {names}; what they let through is judged without them since"),
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
        let mut told = Told::default();
        let mut events = Vec::new();
        for hour in 0..=101 * 24 {
            events.extend(told.news(&rules, hour * 3_600).into_iter().map(|notice| (notice.event, hour)));
        }
        let hours = [70, 93, 99, 100].map(|day| day * 24);
        let expected = [Event::Ends(30), Event::Ends(7), Event::Ends(1), Event::Ended].into_iter().zip(hours);
        assert_eq!(events, expected.collect::<Vec<_>>());
        // First seen two days before the end: one warning, and not three.
        let news = Told::default().news(&rules, END - 2 * DAY);
        let text = "expire within 7 days: a at 1970-04-11T00:00:00Z; renew or remove them";
        assert_eq!(news, [Notice { event: Event::Ends(7), text: text.into() }]);
    }

    #[test]
    fn a_beginning_is_announced_and_told_and_a_renewed_rule_is_warned_of_anew() {
        let mut told = Told::default();
        let first = [rule("a", Some(DAY), Some(END))];
        let news = |told: &mut Told, rules: &[RuleInfo], now| {
            told.news(rules, now).into_iter().map(|notice| notice.event).collect::<Vec<_>>()
        };
        assert_eq!(news(&mut told, &first, 0), [Event::Begins]);
        assert_eq!(news(&mut told, &first, 1), []);
        assert_eq!(news(&mut told, &first, DAY), [Event::Began]);
        assert_eq!(news(&mut told, &first, END - 1), [Event::Ends(1)]);
        // Another policy with the same rule: no news.
        let second = [rule("b", None, None), first[0].clone()];
        assert_eq!(news(&mut told, &second, END - 1), []);
        let renewed = [rule("a", Some(DAY), Some(END + 20 * DAY))];
        assert_eq!(news(&mut told, &renewed, END), [Event::Ends(30)]);
        // Begun before it was ever seen: nothing to tell.
        assert_eq!(news(&mut Told::default(), &[rule("c", Some(1), None)], DAY), []);
    }

    #[test]
    fn many_rules_make_one_notice_that_counts_them() {
        let rules: Vec<_> = (0..2_000).map(|number| rule(&format!("r{number:04}"), None, Some(END))).collect();
        let news = Told::default().news(&rules, END);
        assert_eq!(news.len(), 1);
        assert!(news[0].text.contains("r0009") && !news[0].text.contains("r0010"), "{}", news[0].text);
        assert!(news[0].text.contains(" and 1,990 more rules;"), "{}", news[0].text);
        let near = upcoming(&rules, END - 30 * DAY);
        assert_eq!((near.len(), near[0].what.as_str(), near[0].seconds), (2_000, "expires", 30 * DAY));
        assert!(upcoming(&rules, END - 30 * DAY - 1).is_empty());
        assert_eq!(upcoming(&[rule("x", Some(5), Some(9))], 10)[0].what, "expired");
    }
}
