//! Every metric there is, once: name, kind, labels, and one sentence for whoever reads the scrape. The page is rendered
//! by it (`metrics`), the table in `docs/metrics-and-alerts.md` is written from it, and a test walks a whole scrape
//! against it. No kernel, no state.

/// What all names begin with.
pub(super) const PREFIX: &str = "egress_monitor_";

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Its name, behind [`PREFIX`].
    pub name: &'static str,
    /// Its labels. Bounded: never an address, never a port.
    pub labels: &'static [&'static str],
    /// What it counts, in one sentence without a full stop.
    pub help: &'static str,
}

/// One that only grows, or begins anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter(pub Family);

/// One that goes up and down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge(pub Family);

/// Declares a constant for each metric, and the table of all.
macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal)+) => {
        $(pub(super) const $id: $kind = $kind(Family { name: $name, labels: &[$($label),*], help: $help });)+

        /// All of them with their kinds, in the order of the reference.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, Family)] = &[$((stringify!($kind), $id.0)),+];
    };
}

families! {
    LEFT_PACKETS: Counter "left_packets_total" ["class", "verdict"]
        "packets_total without interface and country: every class and verdict is there from the start, for rules on \
         increase()"
    PACKETS: Counter "packets_total" ["interface", "country", "class", "verdict"]
        "Packets that have a flow, dropped ones too, by destination and verdict"
    SEGMENTS: Counter "segments_total" ["interface", "country", "class", "verdict"]
        "The same as packets on the wire: each segment of a GSO packet is one"
    BYTES: Counter "bytes_total" ["interface", "country", "class", "verdict"]
        "Their bytes, GSO packets counted whole"
    WIRE_BYTES: Counter "wire_bytes_total" ["interface", "country", "class", "verdict"]
        "Their bytes on the wire, with the headers of every segment"
    OVERFLOW_PACKETS: Counter "overflow_packets_total" ["interface", "country", "class", "verdict"]
        "Of packets_total: packets without flow detail, the flow table was full"
    OPAQUE_PACKETS: Counter "opaque_packets_total" ["interface", "opaque", "verdict"]
        "Of packets_total: the content can't be read, by its form (esp, esp_in_udp, wireguard, quic, other); without \
         what overflowed"
    OPAQUE_BYTES: Counter "opaque_bytes_total" ["interface", "opaque", "verdict"]
        "Their bytes, GSO packets counted whole"
    INNER_PACKETS: Counter "inner_packets_total" ["interface", "via", "verdict"]
        "Of packets_total: they have an inner destination or an embedded address, by how it is carried; without what \
         overflowed"
    UNPARSED_PACKETS: Counter "unparsed_packets_total" ["interface", "reason", "fate"]
        "Packets without a flow, by reason and what happened to them (passed, dropped)"
    HOOK_PACKETS: Counter "hook_packets_total" ["interface"]
        "Packets seen at the hook"
    HOOK_SEGMENTS: Counter "hook_segments_total" ["interface"]
        "The same as packets on the wire"
    HOOK_BYTES: Counter "hook_bytes_total" ["interface"]
        "Their bytes, GSO packets counted whole"
    HOOK_WIRE_BYTES: Counter "hook_wire_bytes_total" ["interface"]
        "Their bytes on the wire"
    HOOK_DROPPED_PACKETS: Counter "hook_dropped_packets_total" ["interface"]
        "Of hook_packets_total: dropped by us"
    RESIDUAL_PACKETS: Counter "conservation_residual_packets_total" ["interface"]
        "Sum over epochs of |hook - accounted for|: anything but 0 is a defect"
    EVENTS_LOST: Counter "events_lost_total" ["stage"]
        "Events and alerts lost on the way: ring = rebuilt from the flow table, queue = never kept, sink = gone \
         before a sink had taken them"
    EPOCH_FLOWS: Gauge "epoch_flows" []
        "Flows in the epoch closed last"
    FLOW_TABLE_ENTRIES: Gauge "flow_table_entries" []
        "Places in the kernel's flow table used in the epoch closed last"
    FLOW_TABLE_CAPACITY: Gauge "flow_table_capacity" []
        "Places in the kernel's flow table"
    FLOW_CACHE_ENTRIES: Gauge "flow_cache_entries" []
        "Places in the CPUs' flow caches used in the epoch closed last"
    FLOW_CACHE_CAPACITY: Gauge "flow_cache_capacity" []
        "Places in the CPUs' flow caches"
    KERNEL_MEMORY: Gauge "kernel_memory_bytes" []
        "Memory of the kernel part's maps"
    FLOW_STORE_ENTRIES: Gauge "flow_store_entries" []
        "Flows that the daemon keeps one by one, since the start"
    STARTED: Gauge "started_timestamp_seconds" []
        "When the daemon began"
    TOTALS_SINCE: Gauge "totals_since_timestamp_seconds" []
        "Since when every total counts: earlier than the daemon, where it went on from those of one before it"
    EPOCH: Gauge "epoch" []
        "Number of the epoch closed last"
    EPOCH_CLOSED: Gauge "epoch_closed_timestamp_seconds" []
        "When the last epoch was closed"
    EPOCHS: Counter "epochs_total" []
        "Epochs closed"
    EPOCH_FAILURES: Counter "epoch_failures_total" []
        "Epochs that could not be closed"
    ATTACHED: Gauge "attached" ["interface", "hook"]
        "1 for each interface that is counted, 0 where the program was taken off or the interface is gone"
    DEVICES: Gauge "devices" ["role", "watched"]
        "Devices that are up or are to be watched, by role"
    DEVICE_WATCHED: Gauge "device_watched" ["interface", "role"]
        "1: it is watched; of each device that is up or is to be watched, 1,024 at most, guests that are not watched \
         last"
    DEVICE_UNWATCHED_PACKETS: Counter "device_unwatched_packets_total" ["interface"]
        "Sent by a device that is to be watched and is not, since it was found; 0 again once it is watched"
    NIC_PACKETS: Counter "nic_packets_total" ["interface"]
        "Packets that the network card sent since the program was attached, as it counts"
    NIC_BYTES: Counter "nic_bytes_total" ["interface"]
        "Their bytes"
    NIC_UNACCOUNTED_PACKETS: Counter "nic_unaccounted_packets_total" ["interface"]
        "Of nic_packets_total: never passed the hook, proven"
    NIC_UNACCOUNTED_BYTES: Counter "nic_unaccounted_bytes_total" ["interface"]
        "Their bytes, as far as they can be told"
    NIC_BEFORE_ATTACH_PACKETS: Gauge "nic_before_attach_packets" ["interface"]
        "Packets that it had sent before the program was attached"
    NIC_LOST_PACKETS: Counter "nic_lost_packets_total" ["interface"]
        "Packets that passed the hook and were never counted behind it"
    NIC_HIDDEN_AT_MOST_PACKETS: Gauge "nic_hidden_at_most_packets" ["interface"]
        "Packets that passed the hook and are not accounted for: as many at most left beside it unseen so far"
    NIC_COMPARABLE: Gauge "nic_comparable" ["interface"]
        "0: the device counts frames that never pass its hook, and nothing of it is unaccounted or lost"
    NIC_DROPPED_PACKETS: Counter "nic_dropped_packets_total" ["interface"]
        "Packets that the device says it dropped (tx_dropped, tx_errors) since the program was attached"
    NIC_FILTERED_PACKETS: Counter "nic_filtered_packets_total" ["interface"]
        "Packets that filters behind the hook dropped or sent another way, each segment of a GSO packet as one"
    QDISC_DROPPED_PACKETS: Counter "qdisc_dropped_packets_total" ["interface"]
        "Packets that the queueing disciplines dropped since the program was attached"
    QDISC_WAITING_PACKETS: Gauge "qdisc_waiting_packets" ["interface"]
        "Packets that wait in the queueing discipline at the root"
    CLOCK_SYNCHRONISED: Gauge "clock_synchronised" []
        "1: the kernel calls its clock synchronised; missing where it does not tell the daemon"
    CLOCK_BEHIND: Gauge "clock_behind_seconds" []
        "How far the wall clock is behind the time that rules and budgets go by: more than 0 is the finding \
         clock_behind"
    CLOCK_JUMPS: Counter "clock_jumps_total" []
        "Times that the wall clock was set"
    BYPASS_REFUSED: Counter "bypass_refused_total" ["kind"]
        "Sockets refused that would have sent past the hook, by kind"
    TAMPERING_FOUND: Counter "tampering_found_total" ["kind"]
        "Changes of the monitor's own by others, by finding"
    TAMPERING_HEALED: Counter "tampering_healed_total" ["kind"]
        "Of these: put right"
    TAMPERING_OPEN: Gauge "tampering_open" ["kind"]
        "1 while it is so"
    TAMPERING_CONTENDED: Gauge "tampering_contended" ["kind"]
        "1 while it is left alone, put right too often"
    TAMPERING_LOOKED: Gauge "tampering_looked_timestamp_seconds" []
        "When the kernel part was looked after last"
    TAMPERING_COMPARED: Gauge "tampering_compared_timestamp_seconds" []
        "When every byte of the policy in the kernel had been compared with what was compiled once more"
    POLICY_INFO: Gauge "policy_info" ["digest", "zone", "mode"]
        "1: the policy in force"
    LAST_GOOD_POLICY: Gauge "last_good_policy" []
        "1: the files were refused at the start, the last good policy holds"
    MODE_BY_HAND: Gauge "mode_by_hand" ["mode", "configured"]
        "1, while the mode is set by hand"
    MODE_BY_HAND_ENDS: Gauge "mode_by_hand_ends_timestamp_seconds" []
        "When the mode set by hand ends, where it has an end"
    POLICY_RELOAD_FAILURES: Counter "policy_reload_failures_total" []
        "Reloads that were refused, for whatever reason"
    POLICY_ROLLBACKS: Counter "policy_rollbacks_total" []
        "Of these: policies that failed their check in the kernel and were rolled back"
    POLICY_REVERTS: Counter "policy_reverts_total" []
        "Policies that nobody confirmed in time"
    POLICY_UNCONFIRMED: Gauge "policy_unconfirmed" []
        "1 while the policy in force awaits confirmation"
    RULES_EXPIRING: Gauge "rules_expiring" ["days"]
        "Rules that expire within so many days (30, 7, 1; 0: have expired)"
    RULE_PACKETS: Counter "rule_packets_total" ["rule"]
        "Of packets_total: decided by a rule, allow or deny, without what overflowed; the first 256 rules that come \
         into force keep series of their own, all others are (other)"
    RULE_WIRE_BYTES: Counter "rule_wire_bytes_total" ["rule"]
        "Their bytes on the wire"
    RULE_FLOWS: Counter "rule_flows_total" ["rule"]
        "Flows that a rule decided"
    RULE_LAST_HIT: Gauge "rule_last_hit_timestamp_seconds" ["rule"]
        "Last packet that a rule decided"
    RULE_BUDGET: Gauge "rule_budget_bytes" ["rule"]
        "What a rule with max_bytes_per_day may let through in a UTC day, in bytes on the wire"
    RULE_BUDGET_USED: Gauge "rule_budget_used_bytes" ["rule"]
        "What it has let through today"
    RULE_SUSPENDED: Gauge "rule_suspended" ["rule"]
        "1: its budget is used up, it does not hold until midnight UTC"
    RULES_SUSPENDED: Gauge "rules_suspended" []
        "Rules whose daily budget is used up, with or without series of their own"
    SHADOW_PACKETS: Counter "shadow_packets_total" ["verdict", "shadow"]
        "Packets evaluated, by verdict and by the shadow policy's; starts over with another shadow policy or another \
         policy"
    SHADOW_BYTES: Counter "shadow_bytes_total" ["verdict", "shadow"]
        "Their bytes, GSO packets counted whole"
    SHADOW_WIRE_BYTES: Counter "shadow_wire_bytes_total" ["verdict", "shadow"]
        "Their bytes on the wire"
    SHADOW_NOT_EVALUATED: Counter "shadow_not_evaluated_packets_total" ["why"]
        "Packets that it was not asked about (overflow, unparsed, hops, unanswered): with shadow_packets_total what \
         passed the hooks since the comparison began"
    SHADOW_INFO: Gauge "shadow_info" ["digest"]
        "1: the shadow policy"
    SHADOW_REFUSED: Gauge "shadow_refused" []
        "1: the shadow policy that is configured does not compile"
    GEO_DATASET_AGE: Gauge "geo_dataset_age_seconds" ["dataset"]
        "Age of each geo dataset that says when it was built; where several files would have one name, as much of the \
         path as tells them apart"
    GEO_DATA_HELD: Gauge "geo_data_held" ["file"]
        "Of files that geo stage has looked at: 1 where a fresh one was held or refused"
    GEO_DATA_TAKEN: Gauge "geo_data_taken_timestamp_seconds" ["file"]
        "When geo stage put a fresh one in place last"
    GEO_DATA_LOOKED: Gauge "geo_data_looked_timestamp_seconds" []
        "When geo stage last looked at [geo] incoming"
    ALERTS: Counter "alerts_total" ["severity", "type"]
        "Alerts made; every type is there from the start, with each severity that it can have"
    ATTRIBUTION: Counter "attribution_total" ["method"]
        "Incidents with flows of one source, by how it is known who sends (scan, forwarded, none)"
    INCIDENTS_OPEN: Gauge "incidents_open" ["type"]
        "Incidents that are open"
    ALERTS_QUEUED: Gauge "alerts_queued" []
        "Alerts that wait to be written to disk"
    ALERTS_KEPT: Counter "alerts_kept_total" []
        "Alerts written to disk"
    ALERTS_ON_DISK: Gauge "alerts_on_disk" []
        "1: alerts are kept on disk; 0: in memory, or they wait for room"
    SINK_BACKLOG: Gauge "alert_sink_backlog" ["sink"]
        "Alerts that are kept and not taken yet"
    SINK_OLDEST: Gauge "alert_sink_oldest_seconds" ["sink"]
        "For how long the oldest of these has waited; 0: none waits"
    SINK_DELIVERED: Counter "alert_sink_delivered_total" ["sink"]
        "Alerts taken"
    SINK_RETRIED: Counter "alert_sink_retried_total" ["sink"]
        "Times that alerts were not taken and tried again"
    SINK_REJECTED: Counter "alert_sink_rejected_total" ["sink"]
        "Alerts that the receiver refused for good"
    SINK_LAST_SUCCESS: Gauge "alert_sink_last_success_timestamp_seconds" ["sink"]
        "When the sink took an alert last; 0: not since the start"
    BUILD_INFO: Gauge "build_info" ["version"]
        "1: this build"
}
