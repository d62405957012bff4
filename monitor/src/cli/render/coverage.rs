//! What is watched and what is not, in lines for people: for `status` and for the first lines of `run`.

use monitor_api::status::DeviceStatus;
use monitor_policy::text::count;

/// Guests that are named; what more there are is a number.
const GUESTS: usize = 3;

/// Lines, each with its heading. `hook` says how a device is attached to.
pub fn lines(devices: &[DeviceStatus], hook: impl Fn(u32) -> Option<String>) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for device in devices.iter().filter(|device| device.since.is_some()) {
        let hook = hook(device.index).map_or_else(String::new, |hook| format!(", {hook}"));
        let why = device.why.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        let before = match device.unwatched.packets {
            0 => String::new(),
            packets => format!("; boot window: {} packets sent before", count(packets)),
        };
        lines.push(("watched", format!("{} ({}{hook}){why}{before}", device.name, device.role)));
    }
    if lines.is_empty() {
        lines.push(("watched", "NOTHING yet: what is to be is watched as soon as it is there".into()));
    }
    let (guests, others): (Vec<_>, Vec<_>) =
        devices.iter().filter(|device| device.since.is_none()).partition(|device| device.role == "guest");
    for device in others.into_iter().filter(|device| device.role != "none") {
        let why = device.why.as_deref().unwrap_or_default();
        let sent = match (device.wanted, device.unwatched.packets) {
            (true, packets @ 1..) => format!(": SENT {} UNWATCHED", count(packets)),
            _ => String::new(),
        };
        lines.push(("not watched", format!("{} ({}){sent}: {why}", device.name, device.role)));
    }
    if let Some(first) = guests.first() {
        let names: Vec<&str> = guests.iter().take(GUESTS).map(|guest| guest.name.as_str()).collect();
        let more = if guests.len() > GUESTS { ", …" } else { "" };
        let why = first.why.as_deref().unwrap_or_default();
        let of = count(guests.len() as u64);
        lines.push(("not watched", format!("{of} guests' devices ({}{more}): {why}", names.join(", "))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use monitor_api::status::Amount;

    use super::*;

    fn device(name: &str, role: &str, since: bool, why: &str, packets: u64) -> DeviceStatus {
        DeviceStatus {
            name: name.into(),
            role: role.into(),
            since: since.then(|| "2026-11-29T20:00:00Z".into()),
            why: (!why.is_empty()).then(|| why.into()),
            wanted: role == "edge",
            unwatched: Amount { packets, bytes: packets * 100 },
            ..DeviceStatus::default()
        }
    }

    fn text(devices: &[DeviceStatus]) -> Vec<String> {
        lines(devices, |_| Some("tcx".into())).into_iter().map(|(name, line)| format!("{name}: {line}")).collect()
    }

    #[test]
    fn two_uplinks_a_bridge_a_tunnel_and_many_guests_are_told_with_the_reason_of_each() {
        let mut devices = vec![
            device("eth0", "edge", true, "", 12),
            device("eth1", "edge", false, "[monitor] interfaces does not name it", 3),
            device("wg0", "inner", true, "counted apart, before it is encrypted", 0),
            device("br0", "transit", false, "its packets pass eth0", 7),
            device("lo", "none", false, "nothing leaves the host by it", 9),
        ];
        devices
            .extend((0..2_000).map(|number| device(&format!("veth{number}"), "guest", false, "leads to a guest", 1)));
        assert_eq!(
            text(&devices),
            [
                "watched: eth0 (edge, tcx); boot window: 12 packets sent before",
                "watched: wg0 (inner, tcx); counted apart, before it is encrypted",
                "not watched: eth1 (edge): SENT 3 UNWATCHED: [monitor] interfaces does not name it",
                "not watched: br0 (transit): its packets pass eth0",
                "not watched: 2,000 guests' devices (veth0, veth1, veth2, …): leads to a guest",
            ]
        );
    }

    #[test]
    fn that_nothing_is_watched_is_said() {
        assert_eq!(text(&[])[0], "watched: NOTHING yet: what is to be is watched as soon as it is there");
    }
}
