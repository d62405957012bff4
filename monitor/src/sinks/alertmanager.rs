//! Alerts to Prometheus Alertmanager, by its API v2. At least once; what is active is sent again each minute, since the
//! receiver takes for over what it does not hear of, and what is over is ended. Labels are bounded: neither a process nor a
//! port.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    About, Failure, Line, Sink,
    facts::{Facts, timestamp},
    http::{Answer, Receiver, Verdict},
    secret::{Secret, read},
    webhook::bearer,
};
use crate::model::{
    FindingKind,
    delivery::Promise,
    now,
    receiver::{Http, Place},
};

/// How often what is active is sent again.
const AGAIN: Duration = Duration::from_mins(1);

/// For how long an event is active, which has no end of its own.
const ACTIVE: i64 = 5 * 60 * 1_000;

/// Findings that are over when they are made: nothing says that they end.
const EVENTS: [FindingKind; 19] = [
    FindingKind::Adopted,
    FindingKind::AlertAcknowledged,
    FindingKind::AlertsGone,
    FindingKind::ClockJump,
    FindingKind::ClockReset,
    FindingKind::Gap,
    FindingKind::Killed,
    FindingKind::ListShrunk,
    FindingKind::ModeChanged,
    FindingKind::ObservedAlone,
    FindingKind::OutboxCut,
    FindingKind::PolicyChanged,
    FindingKind::Replaced,
    FindingKind::RuleBegins,
    FindingKind::RuleExpired,
    FindingKind::RuleExpiring,
    FindingKind::SinkTest,
    FindingKind::Started,
    FindingKind::Stopped,
];

/// Alerts that are remembered as active: as many as there are incidents, and more. Beyond it the ones that began first are
/// left to end.
const MOST: usize = 10_240;

/// An alert as the receiver has it: by its labels.
type Labels = BTreeMap<&'static str, String>;

/// Since when it is active, until when, and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Active {
    /// The finding or the incident that it is.
    id: String,
    starts: i64,
    ends: Option<i64>,
    message: String,
}

/// See the module.
pub struct Alertmanager {
    about: About,
    receiver: Receiver,
    token: Option<Place>,
    /// What was read of it.
    key: Option<Secret>,
    active: BTreeMap<Labels, Active>,
}

impl Alertmanager {
    /// One.
    pub fn new(name: &str, at: Http) -> Self {
        let receiver = Receiver::new(at.url, at.ca);
        let about = About::receiver(name, "alertmanager", Promise::AtLeastOnce);
        Self { about, receiver, token: at.token, key: None, active: BTreeMap::new() }
    }

    fn post(&mut self, alerts: &[(Labels, Active)]) -> Result<Answer, String> {
        let body: Vec<Value> = alerts.iter().map(|(labels, active)| document(labels, active)).collect();
        if self.key.is_none() {
            self.key = self.token.as_ref().map(read).transpose()?;
        }
        let headers: Vec<_> = self.key.iter().map(bearer).collect::<Result<_, _>>()?;
        self.receiver.post("application/json", &headers, json!(body).to_string().into_bytes())
    }

    /// Notes what is active now, and what is not any more.
    fn note(&mut self, labels: Labels, active: Active, now: i64) {
        self.active.retain(|_, known| known.ends.is_none_or(|ends| ends > now));
        if active.ends.is_some_and(|ends| ends <= now) {
            self.active.remove(&labels);
            return;
        }
        if self.active.len() >= MOST && !self.active.contains_key(&labels) {
            let first = self.active.iter().min_by_key(|(_, known)| known.starts).map(|(labels, _)| labels.clone());
            first.map(|first| self.active.remove(&first));
        }
        self.active.insert(labels, active);
    }
}

/// What identifies an alert. A value that is empty is none.
fn labels(facts: &Facts) -> Labels {
    let of = [
        ("alertname", &facts.kind),
        ("severity", &facts.severity.to_lowercase()),
        ("host", &facts.host),
        ("zone", &facts.zone),
        ("country", &facts.country),
        ("network", &facts.network),
        ("rule", &facts.rule),
        ("unit", &facts.unit),
    ];
    of.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone())).collect()
}

/// The alerts of what a line says. The end of a finding or an incident has the severity of none, and so other labels than its
/// beginning, which is what ends. One that becomes worse is another to the receiver: the milder one ends. What else is found
/// out later changes no labels.
fn alerts(facts: Facts, known: &BTreeMap<Labels, Active>) -> Vec<(Labels, Active)> {
    let labels = labels(&facts);
    let begun = known.iter().filter(|(_, active)| !facts.id.is_empty() && active.id == facts.id);
    let (same, others): (Vec<_>, Vec<_>) =
        begun.partition(|(known, _)| !facts.over && known.get("severity") == labels.get("severity"));
    let ended = |(labels, active): (&Labels, &Active)| {
        (labels.clone(), Active { ends: Some(facts.time), message: facts.message.clone(), ..active.clone() })
    };
    let mut alerts: Vec<_> = others.into_iter().map(ended).collect();
    if facts.over && !alerts.is_empty() {
        return alerts;
    }
    let event = facts.id.is_empty() || EVENTS.iter().any(|kind| kind.name() == facts.kind);
    let ends = if facts.over { Some(facts.time) } else { event.then_some(facts.time + ACTIVE) };
    let labels = same.first().map_or(labels, |(begun, _)| (*begun).clone());
    alerts.push((labels, Active { id: facts.id, starts: facts.began, ends, message: facts.message }));
    alerts
}

fn document(labels: &Labels, active: &Active) -> Value {
    let mut alert = json!({
        "labels": labels,
        "annotations": { "summary": active.message },
        "startsAt": timestamp(active.starts),
    });
    if let Some(ends) = active.ends {
        alert["endsAt"] = timestamp(ends).into();
    }
    alert
}

impl Sink for Alertmanager {
    fn about(&self) -> &About {
        &self.about
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        let mut known = self.active.clone();
        let mut alerts = Vec::with_capacity(lines.len());
        for (_, line) in lines {
            let facts = Facts::of(line);
            // That all is well wakes nobody; that a heartbeat is missing is for a rule of Prometheus.
            if facts.kind == FindingKind::Heartbeat.name() {
                continue;
            }
            for (labels, active) in self::alerts(facts, &known) {
                known.insert(labels.clone(), active.clone());
                alerts.push((labels, active));
            }
        }
        if alerts.is_empty() {
            return Ok(String::new());
        }
        let answer = self.post(&alerts).map_err(|why| Failure::later(0, why))?;
        match answer.verdict() {
            Verdict::Taken => {
                let now = (now() / 1_000_000) as i64;
                alerts.into_iter().for_each(|(labels, active)| self.note(labels, active, now));
                Ok(answer.shown())
            }
            // It refuses all of them for one.
            Verdict::ForGood if lines.len() > 1 => {
                let mut said = String::new();
                for (at, line) in lines.iter().enumerate() {
                    said =
                        self.deliver(std::slice::from_ref(line)).map_err(|failure| Failure { taken: at, ..failure })?;
                }
                Ok(said)
            }
            verdict => {
                let for_good = verdict == Verdict::ForGood;
                Err(Failure { taken: 0, why: answer.shown(), for_good, after: answer.after })
            }
        }
    }

    fn reopen(&mut self) {
        self.key = None;
        self.receiver.reopen();
    }

    fn again(&self) -> Option<Duration> {
        Some(AGAIN)
    }

    fn repeat(&mut self) {
        let now = (now() / 1_000_000) as i64;
        self.active.retain(|_, known| known.ends.is_none_or(|ends| ends > now));
        let active: Vec<_> = self.active.iter().map(|(labels, active)| (labels.clone(), active.clone())).collect();
        if !active.is_empty() {
            // One that fails is sent with the next; new alerts say what is wrong.
            let _ = self.post(&active);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink() -> Alertmanager {
        let url = crate::model::receiver::Url::parse("http://127.0.0.1:9/").unwrap();
        Alertmanager::new("am", Http { url, token: None, ca: None })
    }

    const BEGUN: &[u8] =
        br#"{"class_uid":2004,"activity_id":1,"severity":"High","severity_id":4,"time":1000,"message":"m",
        "device":{"hostname":"h"},"finding_info":{"uid":"u"},"unmapped":{"type":"detached"}}"#;
    const OVER: &[u8] = br#"{"class_uid":2004,"activity_id":3,"severity":"Informational","severity_id":1,"time":9000,
        "message":"over","device":{"hostname":"h"},"finding_info":{"uid":"u"},"unmapped":{"type":"detached"}}"#;
    const FLOW: &[u8] = br#"{"class_uid":4001,"severity":"High","severity_id":4,"time":1000,"message":"m",
        "start_time":900,"activity_id":1,"metadata":{"correlation_uid":"i","tenant_uid":"eu"},
        "device":{"hostname":"h"},"src_endpoint":{"port":4711},"dst_endpoint":{"ip":"198.51.100.9","port":443},
        "unmapped":{"type":"egress","country":"SG","rule":null,"verdict":"observed","network":"198.51.100.0/24"}}"#;

    /// The one alert of a line.
    fn alert(facts: Facts, known: &BTreeMap<Labels, Active>) -> (Labels, Active) {
        let mut alerts = alerts(facts, known);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        alerts.remove(0)
    }

    #[test]
    fn what_becomes_worse_is_another_and_the_milder_one_ends_and_what_is_found_out_later_changes_nothing() {
        let mut sink = sink();
        let text = std::str::from_utf8(FLOW).unwrap();
        let low = text.replace("High", "Low").replace("\"egress\"", "\"egress_answers\"");
        let (milder, active) = alert(Facts::of(low.as_bytes()), &sink.active);
        sink.note(milder.clone(), active, 2_000);
        let high = low.replace("Low", "High").replace("\"activity_id\":1", "\"activity_id\":6");
        let high = high.replace("\"country\"", "\"attribution\":{\"unit\":\"sync.service\"},\"country\"");
        let [(ended, over), (worse, active)] = &alerts(Facts::of(high.as_bytes()), &sink.active)[..] else {
            panic!("the milder one and the other")
        };
        assert_eq!((ended, over.ends), (&milder, Some(1_000)));
        assert_eq!((worse["severity"].as_str(), worse["unit"].as_str(), active.ends), ("high", "sync.service", None));
        sink.note(ended.clone(), over.clone(), 2_000);
        sink.note(worse.clone(), active.clone(), 2_000);
        assert_eq!(sink.active.len(), 1);
        // A unit that is found out, or not any more.
        let again = high.replace("\"unit\":\"sync.service\"", "\"unit\":null");
        assert_eq!(&alert(Facts::of(again.as_bytes()), &sink.active).0, worse);
        let end = again.replace("\"activity_id\":6", "\"activity_id\":2").replace("High", "Informational");
        let (ended, over) = alert(Facts::of(end.as_bytes()), &sink.active);
        assert_eq!((&ended, over.ends), (worse, Some(1_000)));
        sink.note(ended, over, 2_000);
        assert!(sink.active.is_empty());
    }

    #[test]
    fn a_finding_is_active_until_its_end_which_has_the_labels_of_its_beginning() {
        let mut sink = sink();
        let (labels, active) = alert(Facts::of(BEGUN), &sink.active);
        assert_eq!((active.starts, active.ends), (1_000, None));
        assert_eq!(labels["severity"], "high");
        sink.note(labels.clone(), active, 2_000);
        let (ended, over) = alert(Facts::of(OVER), &sink.active);
        assert_eq!((&ended, over.starts, over.ends), (&labels, 1_000, Some(9_000)));
        let shown = document(&ended, &over);
        assert_eq!(shown["endsAt"], "1970-01-01T00:00:09.000Z");
        sink.note(ended, over, 10_000);
        assert!(sink.active.is_empty());
        // One whose beginning nobody remembers is over by itself.
        assert_eq!(alert(Facts::of(OVER), &sink.active).1.ends, Some(9_000));
        // What nothing says the end of, as versions before 0.7 told of a flow, ends by itself.
        let flow = std::str::from_utf8(FLOW).unwrap().replace("\"correlation_uid\":\"i\",", "");
        assert_eq!(alert(Facts::of(flow.as_bytes()), &sink.active).1.ends, Some(1_000 + ACTIVE));
    }

    #[test]
    fn an_incident_has_its_network_and_no_port_and_is_active_until_its_end() {
        let mut sink = sink();
        let (labels, active) = alert(Facts::of(FLOW), &sink.active);
        assert_eq!((active.starts, active.ends), (900, None));
        let shown = document(&labels, &active).to_string();
        assert!(shown.contains("198.51.100.0/24") && !shown.contains("4711") && !shown.contains("443"), "{shown}");
        assert_eq!(
            labels.keys().copied().collect::<Vec<_>>(),
            ["alertname", "country", "host", "network", "severity", "zone"]
        );
        sink.note(labels.clone(), active, 2_000);
        let text = std::str::from_utf8(FLOW).unwrap();
        let more = text.replace("\"activity_id\":1", "\"activity_id\":6").replace("\"m\"", "\"goes on\"");
        let (again, active) = alert(Facts::of(more.as_bytes()), &sink.active);
        assert_eq!((&again, active.starts, active.message.as_str()), (&labels, 900, "goes on"));
        let end = text.replace("\"activity_id\":1", "\"activity_id\":2").replace("High", "Informational");
        let (ended, over) = alert(Facts::of(end.as_bytes()), &sink.active);
        assert_eq!((&ended, over.ends), (&labels, Some(1_000)));
        sink.note(ended, over, 2_000);
        assert!(sink.active.is_empty());
    }

    #[test]
    fn what_is_over_when_it_is_told_ends_by_itself() {
        let started = std::str::from_utf8(BEGUN).unwrap().replace("detached", "started");
        assert_eq!(alert(Facts::of(started.as_bytes()), &BTreeMap::new()).1.ends, Some(1_000 + ACTIVE));
    }

    #[test]
    fn a_heartbeat_is_taken_and_not_sent() {
        let heartbeat = std::str::from_utf8(BEGUN).unwrap().replace("detached", "heartbeat");
        // Nobody is there to be asked.
        let stamp = crate::storage::segments::line::Stamp { sequence: 1, time: 1 };
        assert_eq!(sink().deliver(&[(stamp, heartbeat.as_bytes())]), Ok(String::new()));
        assert!(sink().deliver(&[(stamp, BEGUN)]).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sink = sink();
        for number in 0..MOST as i64 + 5 {
            let labels = Labels::from([("alertname", number.to_string())]);
            sink.note(labels, Active { id: String::new(), starts: number, ends: None, message: String::new() }, 0);
        }
        assert_eq!((sink.active.len(), sink.active.values().map(|active| active.starts).min()), (MOST, Some(5)));
    }
}
