//! A page of alerts in, a line each out: number, time, severity, type, sentence, and who has acknowledged it.

use monitor_api::alerts::{Acknowledged, Alerts, Told};
use monitor_policy::text::{plain, when};

use super::with_short_digests;

/// The lines, at `now` (UTC nanoseconds since 1970).
pub fn alerts(page: &Alerts, now: i128) -> String {
    let told = page.alerts.iter().filter_map(|line| Told::of(line.get().as_bytes()));
    told.map(|alert| line(&alert, &page.acknowledged, now)).collect()
}

fn line(alert: &Told, acknowledged: &[Acknowledged], now: i128) -> String {
    let Told { sequence, severity, kind, message, time, .. } = alert;
    let number = if *sequence == 0 { "-".to_owned() } else { sequence.to_string() };
    let time = jiff::Timestamp::from_millisecond(*time).map_or_else(|_| "-".to_owned(), |time| format!("{time:.0}"));
    let mut line = format!("{number:>6}  {time}  {severity:<13}  {kind}: {message}");
    for one in acknowledged.iter().filter(|one| one.id == alert.uid || one.id == alert.correlation) {
        let note = one.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        // The command is on record, and says the note once more.
        let by = one.by.split(", `").next().unwrap_or_default();
        line += &format!(" [acknowledged {} by {by}{note}]", when(&one.time, now));
    }
    with_short_digests(&line) + "\n"
}

/// What `alerts ack` says.
pub fn acknowledged(one: &Acknowledged) -> String {
    let Acknowledged { sequence, kind, message, note, .. } = one;
    let note = note.as_ref().map_or_else(String::new, |note| format!("\n  note: {}", plain(note)));
    format!("acknowledged: alert {sequence}, {kind}: {}{note}\n", plain(message))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    const NOW: i128 = 120_000_000_000;

    fn raw(sequence: u64, message: &str, severity: &str) -> Box<RawValue> {
        let line = format!(
            r#"{{"time":61500,"severity_id":4,"severity":"{severity}","message":"{message}","metadata":{{"sequence":
            {sequence},"uid":"u{sequence}","correlation_uid":"i"}},"unmapped":{{"country":"SG"}}}}"#
        );
        RawValue::from_string(line).expect("JSON")
    }

    #[test]
    fn each_alert_is_one_line_with_its_number_and_who_acknowledged_it() {
        let of = |id: &str, note: Option<&str>| Acknowledged {
            id: id.into(),
            note: note.map(str::to_owned),
            by: "uid 0, `egress-monitor alerts ack 7`".into(),
            time: "1970-01-01T00:01:55.000Z".into(),
            ..Acknowledged::default()
        };
        let page = Alerts {
            alerts: vec![
                raw(7, &format!("left by {}", "a1".repeat(32)), "High"),
                raw(12_345, "a\\u001b[2J\\nb", "Informational"),
            ],
            acknowledged: vec![of("u7", Some("known backup"))],
            ..Alerts::default()
        };
        assert_eq!(
            alerts(&page, NOW),
            "     7  1970-01-01T00:01:01Z  High           egress: left by a1a1a1a1a1a1a1a1… [acknowledged 5s ago by uid 0: known backup]\n \
             12345  1970-01-01T00:01:01Z  Informational  egress: a\u{fffd}[2J\u{fffd}b\n"
        );
        let incident = Alerts { acknowledged: vec![of("i", None)], ..page };
        assert_eq!(alerts(&incident, NOW).matches(" [acknowledged 5s ago by uid 0]\n").count(), 2);
    }

    #[test]
    fn what_is_not_on_disk_has_no_number() {
        let page = Alerts { alerts: vec![raw(0, "left", "Low")], ..Alerts::default() };
        assert_eq!(alerts(&page, NOW), "     -  1970-01-01T00:01:01Z  Low            egress: left\n");
    }
}
