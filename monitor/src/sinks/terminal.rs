//! Alerts on a terminal: the line of JSON in that every other output gets, one short line for a person out.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use monitor_policy::text::plain;
use serde_json::Value;

use crate::model::FindingKind;

/// Characters of a line.
const COLUMNS: usize = 80;

/// What stands out.
const GRAVE: Style = AnsiColor::Red.on_default().bold();

/// A terminal.
pub(super) struct Terminal<T> {
    pub(super) to: T,
    pub(super) in_colour: bool,
}

impl<T: Write> Write for Terminal<T> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // An end of line that completes one which was cut has nothing to say.
        if let Some(text) = brief(line, self.in_colour) {
            self.to.write_all(text.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn brief(line: &[u8], in_colour: bool) -> Option<String> {
    let alert: Value = serde_json::from_slice(line).ok()?;
    let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let what = match alert.get("class_uid").and_then(Value::as_i64) {
        // Where it goes is what a line has room for.
        Some(4001) if text("/unmapped/type") == "egress" && alert["activity_id"] == 1 => flow(&alert),
        Some(4001) => text("/message").to_owned(),
        // Nobody sits there to count them.
        _ if text("/unmapped/type") == FindingKind::Heartbeat.name() => return None,
        _ => format!("{}: {}", text("/unmapped/type"), text("/finding_info/desc")),
    };
    let time = alert.get("time").and_then(Value::as_i64).and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    let time = time.map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
    let severity = text("/severity");
    let line = plain(&format!("{time} {severity:<6} {what}"));
    let mut short: String = line.chars().take(COLUMNS).collect();
    if line.chars().count() > COLUMNS {
        short.pop();
        short.push('…');
    }
    if in_colour && ["High", "Critical"].contains(&severity) {
        short = short.replacen(severity, &format!("{GRAVE}{severity}{GRAVE:#}"), 1);
    }
    Some(short + "\n")
}

fn flow(alert: &Value) -> String {
    let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let number = |pointer: &str| alert.pointer(pointer).and_then(Value::as_u64);
    let endpoint = |of: &str, address: &str, port: &str| {
        let address = text(&format!("/{of}/{address}"));
        match number(&format!("/{of}/{port}")).filter(|port| *port > 0) {
            Some(port) if address.contains(':') => format!("[{address}]:{port}"),
            Some(port) => format!("{address}:{port}"),
            None => address.to_owned(),
        }
    };
    let mut to = endpoint("dst_endpoint", "ip", "port");
    if alert.pointer("/unmapped/inner").is_some_and(Value::is_object) {
        let inner = endpoint("unmapped/inner", "destination", "destination_port");
        to += &format!(" → {inner} ({})", text("/unmapped/inner/via"));
    }
    let protocol = match text("/connection_info/protocol_name") {
        "" => number("/connection_info/protocol_num").unwrap_or_default().to_string(),
        name => name.to_owned(),
    };
    format!(
        "{} {protocol} {} → {to} {} {}",
        text("/unmapped/verdict"),
        endpoint("src_endpoint", "ip", "port"),
        text("/unmapped/country"),
        text("/unmapped/interface")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alert() -> Value {
        json!({
            "class_uid": 4001, "activity_id": 1, "severity": "High", "time": 45_296_000,
            "connection_info": { "protocol_name": "tcp", "protocol_num": 6 },
            "src_endpoint": { "ip": "198.51.100.200", "port": 54_321 },
            "dst_endpoint": { "ip": "203.0.113.200", "port": 443 },
            "unmapped": { "type": "egress", "verdict": "observed", "country": "CN", "interface": "eth0", "inner": null },
        })
    }

    fn shown(alert: &Value, in_colour: bool) -> String {
        let mut out = Vec::new();
        let mut terminal = Terminal { to: &mut out, in_colour };
        let line = format!("{alert}\n");
        assert_eq!(terminal.write(line.as_bytes()).unwrap(), line.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_alert_is_one_line_that_fits_whatever_is_in_it() {
        let line = "12:34:56 High   observed tcp 198.51.100.200:54321 → 203.0.113.200:443 CN eth0\n";
        assert_eq!(shown(&alert(), false), line);
        assert_eq!(line.trim_end().chars().count(), 77);
        let mut tunnel = alert();
        tunnel["unmapped"]["inner"] =
            json!({ "destination": "2001:db8::7", "destination_port": 53, "via": "ip_in_ip" });
        let text = shown(&tunnel, false);
        assert!(text.contains("→ 203.0.113.200:443 → [2001:d") && text.ends_with("…\n"), "{text}");
        let finding = json!({
            "class_uid": 2004, "severity": "Critical", "time": 0,
            "unmapped": { "type": "detached" }, "finding_info": { "desc": "eth0\u{1b}[2J\nx" },
        });
        assert_eq!(shown(&finding, false), "00:00:00 Critical detached: eth0\u{fffd}[2J\u{fffd}x\n");
        let heartbeat = json!({ "class_uid": 2004, "unmapped": { "type": "heartbeat" } });
        assert_eq!(shown(&heartbeat, false), "");
        for text in [text, shown(&finding, false)] {
            assert!(text.trim_end().chars().count() <= COLUMNS && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn what_is_grave_is_in_colour_where_colour_is_wanted() {
        assert!(shown(&alert(), true).starts_with("12:34:56 \u{1b}[1m\u{1b}[31mHigh\u{1b}[0m   observed"));
        let mut low = alert();
        low["severity"] = "Low".into();
        assert_eq!(shown(&low, true), shown(&low, false));
    }
}
