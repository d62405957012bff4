//! The table itself: each finding once, with all that there is to say of it.

use super::Entry;
use crate::model::severity::Severity;

/// Declares [`FindingKind`] and what there is to say of each.
macro_rules! findings {
    ($($(#[doc = $doc:literal])+ $kind:ident { $($field:ident: $value:expr),+ $(,)? })+) => {
        /// What can be wrong with the monitor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FindingKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl FindingKind {
            /// All of them, in the order in which `status` lists those that are open.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            pub(super) const fn entry(self) -> Entry {
                match self {
                    $(Self::$kind => Entry { $($field: $value),+ },)+
                }
            }
        }
    };
}

findings! {
    /// Hook total and sums differ.
    ConservationBreach {
        name: "conservation_breach",
        severity: Severity::Critical,
        every_time: true,
        title: "Packets counted at the hook and packets accounted for differ",
        hint: "A defect: report it with `status --json`",
    }
    /// A device sent more than passed its hook.
    UnaccountedEgress {
        name: "unaccounted_egress",
        severity: Severity::Critical,
        every_time: true,
        title: "Traffic left an interface without passing the hook",
        hint: "Find out what sends beside the hook: `docs/operating.md` lists likely causes",
    }
    /// Packets that passed the hook were never sent, and nobody says that he dropped them.
    EgressLost {
        name: "egress_lost",
        severity: Severity::Medium,
        every_time: false,
        title: "Packets are lost behind the hook, and nobody counts them",
        hint: "Find out what drops or redirects them (`tc filter`, `bpftool net`, the driver): as many may leave beside the \
               hook unseen in the same time",
    }
    /// The program is not on an interface any more that it was put on and that is still there.
    Detached {
        name: "detached",
        severity: Severity::Critical,
        every_time: false,
        title: "The program was taken off an interface",
        hint: "Find out who took it off. In enforce mode it is put back (`[monitor] heal`), else restart",
    }
    /// A link of ours runs another program.
    ProgramReplaced {
        name: "program_replaced",
        severity: Severity::Critical,
        every_time: false,
        title: "Another program is in the place of the monitor's on an interface",
        hint: "Find out who put it there (`bpftool net`). In enforce mode ours is put back (`[monitor] heal`)",
    }
    /// The filter of ours is gone from an interface that is still there.
    FilterDeleted {
        name: "filter_deleted",
        severity: Severity::Critical,
        every_time: false,
        title: "The monitor's filter was deleted from an interface",
        hint: "Find out who deleted it (`tc filter`). In enforce mode it is put back (`[monitor] heal`)",
    }
    /// The clsact qdisc with the filter of ours is gone from an interface that is still there.
    QdiscDeleted {
        name: "qdisc_deleted",
        severity: Severity::Critical,
        every_time: false,
        title: "The clsact qdisc with the monitor's filter was deleted from an interface",
        hint: "Find out who deleted it (`tc qdisc`). In enforce mode both are put back (`[monitor] heal`)",
    }
    /// What is put right is changed again and again.
    Contended {
        name: "contended",
        severity: Severity::Critical,
        every_time: false,
        title: "Somebody changes what the monitor puts right again and again: it is left alone",
        hint: "Find out who does it, and end that; it is put right again 10 minutes after the first time",
    }
    /// The control word, or what is beside it, is not ours.
    ControlWordChanged {
        name: "control_word_changed",
        severity: Severity::Critical,
        every_time: false,
        title: "Somebody changed mode, policy slot or epoch in the kernel",
        hint: "Find out who writes to BPF maps (`bpftool map`). Each epoch writes them anew",
    }
    /// Class rows in the kernel are not those that were compiled.
    ClassRowChanged {
        name: "class_row_changed",
        severity: Severity::Critical,
        every_time: false,
        title: "Somebody changed in the kernel what is allowed and denied",
        hint: "Find out who writes to BPF maps (`bpftool map`). In enforce mode it is put right (`[monitor] heal`)",
    }
    /// Rule rows in the kernel are not those that were compiled.
    RuleRowChanged {
        name: "rule_row_changed",
        severity: Severity::Critical,
        every_time: false,
        title: "Somebody changed rules in the kernel",
        hint: "Find out who writes to BPF maps (`bpftool map`). In enforce mode it is put right (`[monitor] heal`)",
    }
    /// The index of addresses in the kernel is not the one that was compiled.
    ImageChanged {
        name: "image_changed",
        severity: Severity::Critical,
        every_time: false,
        title: "Somebody changed in the kernel where networks are",
        hint: "Find out who writes to BPF maps (`bpftool map`). In enforce mode it is put right (`[monitor] heal`)",
    }
    /// The table of interfaces in the kernel is not the one that was written.
    InterfaceTableChanged {
        name: "interface_table_changed",
        severity: Severity::Critical,
        every_time: false,
        title: "Somebody changed the table of interfaces in the kernel",
        hint: "Find out who writes to BPF maps (`bpftool map`). In enforce mode it is put right (`[monitor] heal`)",
    }
    /// Whose sockets are refused that would send past the hook is not as it was written.
    BypassTableChanged {
        name: "bypass_table_changed",
        severity: Severity::High,
        every_time: false,
        title: "Somebody changed in the kernel who may send past the hook",
        hint: "Find out who writes to BPF maps (`bpftool map`). In enforce mode it is put right (`[monitor] heal`)",
    }
    /// A packet got a verdict that the policy can't have given.
    ImpossibleVerdict {
        name: "impossible_verdict",
        severity: Severity::Critical,
        every_time: true,
        title: "Packets got a verdict that the policy in force cannot give",
        hint: "Find out who writes to BPF maps (`bpftool map`); where nobody does, report a defect",
    }
    /// A program of somebody else's is ahead of ours.
    ProgramAhead {
        name: "program_ahead",
        severity: Severity::High,
        every_time: false,
        title: "A program of somebody else's has its say before the monitor's",
        hint: "Find out whose it is (`bpftool net`); `[monitor] heal_order = true` has the monitor go first again",
    }
    /// A pin of ours is gone.
    PinRemoved {
        name: "pin_removed",
        severity: Severity::High,
        every_time: false,
        title: "What outlives the daemon was removed from its BPF file system",
        hint: "Find out who removed it. In enforce mode it is pinned again (`[monitor] heal`), else restart",
    }
    /// The file system with our pins is gone.
    BpffsUnmounted {
        name: "bpffs_unmounted",
        severity: Severity::High,
        every_time: false,
        title: "The BPF file system with what outlives the daemon was unmounted",
        hint: "Mount it again (`systemctl start run-egress\\x2dmonitor\\x2dbpf.mount`): in enforce mode all is pinned there \
               again by itself, else restart",
    }
    /// The daemon's program, or its unit, on disk is not the one that runs.
    ChangedOnDisk {
        name: "changed_on_disk",
        severity: Severity::Medium,
        every_time: false,
        title: "The monitor's program or unit on disk is not what runs",
        hint: "Restart, if it was an upgrade; else find out who changed it",
    }
    /// An edge sends and is not watched.
    UnwatchedEgress {
        name: "unwatched_egress",
        severity: Severity::Critical,
        every_time: false,
        title: "Traffic leaves by an interface that is not watched",
        hint: "Add it, or \"auto\", to `[monitor] interfaces`; one that is not to be watched as \"!name\"",
    }
    /// There are more interfaces to watch than slots.
    TooManyInterfaces {
        name: "too_many_interfaces",
        severity: Severity::Critical,
        every_time: false,
        title: "There are more interfaces to watch than can be told apart",
        hint: "Leave out (\"!name\" in `[monitor] interfaces`) what no packet leaves by",
    }
    /// An epoch could not be closed.
    EpochFailed {
        name: "epoch_failed",
        severity: Severity::High,
        every_time: false,
        title: "An epoch could not be closed",
        hint: "Read the log; restart if it lasts. Its counts are kept and come with a later epoch",
    }
    /// The daemon before this one ended without saying so.
    Killed {
        name: "killed",
        severity: Severity::High,
        every_time: true,
        title: "The daemon was killed, or crashed",
        hint: "Find out by whom: `journalctl -u egress-monitor -k` (out of memory, a signal, a panic)",
    }
    /// A daemon began.
    Started {
        name: "started",
        severity: Severity::Informational,
        every_time: true,
        title: "The monitor began",
        hint: "Nothing, if it was meant",
    }
    /// A daemon took the programs of an earlier one over.
    Adopted {
        name: "adopted",
        severity: Severity::Informational,
        every_time: true,
        title: "The monitor took over what an earlier one left in the kernel",
        hint: "Nothing, if it was meant",
    }
    /// The same, of another version.
    Replaced {
        name: "replaced",
        severity: Severity::Informational,
        every_time: true,
        title: "Another version took over what the monitor left in the kernel",
        hint: "Nothing, if it was meant",
    }
    /// A daemon ended in order.
    Stopped {
        name: "stopped",
        severity: Severity::Medium,
        every_time: true,
        title: "The monitor was stopped",
        hint: "Start it again if that was not meant: `systemctl start egress-monitor`",
    }
    /// Packets were counted, and judged, while no daemon was there.
    Gap {
        name: "gap",
        severity: Severity::Medium,
        every_time: true,
        title: "Packets came to the hook while no daemon was there",
        hint: "Find out why it was away: `journalctl -u egress-monitor`",
    }
    /// The daemon closed no epochs for so long that the kernel part only observed.
    ObservedAlone {
        name: "observed_alone",
        severity: Severity::High,
        every_time: true,
        title: "The kernel part let everything pass: the daemon stood still",
        hint: "Find out why it stood still: `journalctl -u egress-monitor`; `[monitor] on_daemon_loss = \"keep\"` drops on",
    }
    /// Programs and counters end with the daemon.
    NotPinned {
        name: "not_pinned",
        severity: Severity::High,
        every_time: false,
        title: "Nothing is enforced or counted when the daemon ends",
        hint: "Mount a BPF file system where `[paths] bpffs` is, owned by the daemon's user; then restart",
    }
    /// Another program has the port.
    HttpUnavailable {
        name: "http_unavailable",
        severity: Severity::High,
        every_time: false,
        title: "HTTP is not served: whoever answers on the port is somebody else",
        hint: "`ss -ltnp` says who listens there; end it, or set `[http] listen` to another port and restart",
    }
    /// There is no control socket.
    ControlUnavailable {
        name: "control_unavailable",
        severity: Severity::High,
        every_time: false,
        title: "No command reaches the monitor: there is no control socket",
        hint: "Mend what is said; it is tried again each second",
    }
    /// An interface that the configuration asks for is not there, or can't be attached to.
    InterfaceUnavailable {
        name: "interface_unavailable",
        severity: Severity::High,
        every_time: false,
        title: "An interface that is to be watched is not there, or can't be",
        hint: "Nothing, if it is to come: it is watched as soon as it is there. Else see `[monitor] interfaces`",
    }
    /// What encrypts, or wraps in a form that is not read, is not asked for.
    TunnelNotWatched {
        name: "tunnel_not_watched",
        severity: Severity::Low,
        every_time: false,
        title: "A tunnel is up whose content is not watched",
        hint: "Add it, or \"auto\", to `[monitor] interfaces`",
    }
    /// The ring buffer was full. The alerts are rebuilt from the flow table.
    EventsLost {
        name: "events_lost",
        severity: Severity::Medium,
        every_time: false,
        title: "The event ring buffer was full",
        hint: "Nothing, if rare: the alerts came with the drain",
    }
    /// The flow table was full: sums are exact, flows are not all distinguished.
    FlowTableOverflow {
        name: "flow_table_overflow",
        severity: Severity::Medium,
        every_time: false,
        title: "The flow table was full",
        hint: "Raise `[monitor] flows` or shorten `[monitor] epoch`",
    }
    /// More went to the management networks in a day than is to go untold.
    ManagementVolume {
        name: "management_volume",
        severity: Severity::Medium,
        every_time: false,
        title: "More went to the management networks today than is to go untold",
        hint: "See `egress-monitor flows --by peer`: what goes there is never dropped. `[management] tell_bytes_per_day`",
    }
    /// Frames are announced as link-scope control and have another form.
    LinkControlOdd {
        name: "link_control_odd",
        severity: Severity::Medium,
        every_time: false,
        title: "Frames are announced as link-scope control and do not look like it",
        hint: "Find out what sends them; `[zone.undecodable] link_control_odd = \"deny\"` drops them",
    }
    /// Programs wanted to send past the hook.
    BypassRefused {
        name: "bypass_refused",
        severity: Severity::High,
        every_time: false,
        title: "Programs were refused a way past the hook",
        hint: "Find out which: who has CAP_NET_RAW; one that is meant to is named in `[monitor] bypass`",
    }
    /// They can't be kept from it.
    BypassNotRefused {
        name: "bypass_not_refused",
        severity: Severity::Medium,
        every_time: false,
        title: "Programs are not kept from sending past the hook",
        hint: "Mount cgroup v2; what is sent so is still reported (`unaccounted_egress`)",
    }
    /// They are open already.
    BypassOpen {
        name: "bypass_open",
        severity: Severity::Low,
        every_time: false,
        title: "Sockets are open from before it was enforced that send past the hook, or may",
        hint: "`status` lists them, `ss -0p` has their programs: restart those that are to send by the hook",
    }
    /// Alerts found no room to wait for the disk.
    AlertsLost {
        name: "alerts_lost",
        severity: Severity::High,
        every_time: false,
        title: "Alerts found no room and are lost",
        hint: "Make room in `[paths] state`; `egress-monitor flows` has the flows",
    }
    /// The bound on what is kept, or somebody, took alerts from a sink.
    AlertsGone {
        name: "alerts_gone",
        severity: Severity::Critical,
        every_time: true,
        title: "Alerts are gone that a sink had not taken",
        hint: "Find out why the sink stands still (`egress-monitor sinks`), and who writes in `[paths] state`; raise `[alerts] keep`",
    }
    /// The disk takes no alerts.
    OutboxUnwritable {
        name: "outbox_unwritable",
        severity: Severity::High,
        every_time: false,
        title: "Alerts can't be kept on disk",
        hint: "Make room in `[paths] state`: until then they wait in memory, and findings alone go out",
    }
    /// What a start found of kept alerts was not whole.
    OutboxCut {
        name: "outbox_cut",
        severity: Severity::Medium,
        every_time: false,
        title: "Kept alerts were not whole at the start",
        hint: "Nothing, after a power cut or a crash; else find out who writes in `[paths] state`",
    }
    /// A receiver refused alerts.
    SinkRejects {
        name: "sink_rejects",
        severity: Severity::High,
        every_time: false,
        title: "A receiver refuses alerts for good",
        hint: "Mend what it says; what it refused is in `[paths] state`/alerts/rejected, and is not sent again",
    }
    /// Somebody has acknowledged an alert.
    AlertAcknowledged {
        name: "alert_acknowledged",
        severity: Severity::Informational,
        every_time: true,
        title: "Somebody acknowledged an alert",
        hint: "Nothing, if it was meant: `egress-monitor alerts` shows who did",
    }
    /// Somebody tries a sink.
    SinkTest {
        name: "sink_test",
        severity: Severity::Informational,
        every_time: true,
        title: "A test of a sink",
        hint: "Nothing: somebody asked for it (`egress-monitor sinks test`)",
    }
    /// It works: once a minute.
    Heartbeat {
        name: "heartbeat",
        severity: Severity::Informational,
        every_time: true,
        title: "The monitor works",
        hint: "Nothing; where none comes for three minutes, look whether host and monitor are there (`systemctl status \
               egress-monitor`) and what the sink says (`egress-monitor sinks`)",
    }
    /// Alerts wait for a sink.
    SinkBehind {
        name: "sink_behind",
        severity: Severity::High,
        every_time: false,
        title: "A sink takes no alerts",
        hint: "Mend what it says (`egress-monitor sinks`); what it has not taken is kept, and delivered as soon as it takes any",
    }
    /// Tables of names are nearly full of what is in use.
    NamesRunOut {
        name: "names_run_out",
        severity: Severity::Medium,
        every_time: false,
        title: "There are hardly any places left for names of rules or interfaces",
        hint: "Have rules keep their ids (no serials in them); a restart begins anew",
    }
    /// A start whose files were refused has the last good policy.
    LastGoodPolicy {
        name: "last_good_policy",
        severity: Severity::High,
        every_time: false,
        title: "The files were refused at the start, the last good policy is in force instead",
        hint: "`egress-monitor check` them: as soon as they are good they are read, or by `egress-monitor reload`",
    }
    /// What the configuration would have dropped passes, because somebody set the mode.
    ObserveByHand {
        name: "observe_by_hand",
        severity: Severity::High,
        every_time: false,
        title: "Nothing is dropped: the mode was set by hand",
        hint: "`egress-monitor mode file` gives it back to the configuration",
    }
    /// Somebody set the mode, and it is no looser for it.
    ModeByHand {
        name: "mode_by_hand",
        severity: Severity::Medium,
        every_time: false,
        title: "The mode was set by hand, and outranks the configuration",
        hint: "`egress-monitor mode file` gives it back to the configuration",
    }
    /// Policies and confirmations can't be kept.
    PolicyState {
        name: "policy_state",
        severity: Severity::Medium,
        every_time: false,
        title: "The policy can't be kept over a restart",
        hint: "Mend `[paths] state`; until then a start whose files are refused has an older policy, or none",
    }
    /// A new configuration was refused.
    ReloadRefused {
        name: "reload_refused",
        severity: Severity::Medium,
        every_time: false,
        title: "A new configuration was refused, the old one stays in force",
        hint: "`egress-monitor check` it, and reload",
    }
    /// A list or a dataset came to less than it was, as a full disk leaves it.
    FileHeld {
        name: "file_held",
        severity: Severity::High,
        every_time: false,
        title: "A file is empty, gone or cut, or lost more than half: the policy before it stays in force",
        hint: "Put the file right; or take it as it is with `egress-monitor reload --accept FILE`",
    }
    /// A list has less in it than before, and is in force.
    ListShrunk {
        name: "list_shrunk",
        severity: Severity::Medium,
        every_time: true,
        title: "A list of rules has less in it than before",
        hint: "Nothing, if somebody revoked what is missing; else put it back",
    }
    /// A rule has used up its budget of the day.
    BudgetUsedUp {
        name: "budget_used_up",
        severity: Severity::High,
        every_time: false,
        title: "A rule has used up its budget of the day and is suspended",
        hint: "Ask its owner (`egress-monitor rules`); raise the budget and reload, or wait until midnight UTC",
    }
    /// The sums of the day can't be kept over a restart.
    BudgetState {
        name: "budget_state",
        severity: Severity::Medium,
        every_time: false,
        title: "The day's budgets can't be kept over a restart",
        hint: "Make room in `[paths] state`; until then a restart begins the day anew",
    }
    /// The totals can't be kept over a restart.
    TotalsState {
        name: "totals_state",
        severity: Severity::Medium,
        every_time: false,
        title: "The totals can't be kept over a restart",
        hint: "Make room in `[paths] state`; until then a restart begins them anew",
    }
    /// The shadow policy that the configuration names does not compile.
    ShadowRefused {
        name: "shadow_refused",
        severity: Severity::Low,
        every_time: false,
        title: "The shadow policy was refused, there is none",
        hint: "`egress-monitor check --config` it; nothing else is affected",
    }
    /// A new policy failed its check in the kernel; the one before it was put back, or could not be.
    PolicyRolledBack {
        name: "policy_rolled_back",
        severity: Severity::Critical,
        every_time: true,
        title: "A new policy failed its check in the kernel and was taken back",
        hint: "Find out who else writes to BPF maps (`bpftool map`); restart",
    }
    /// A new policy was not confirmed in time; the one before it is in force again, or could not be put back.
    PolicyReverted {
        name: "policy_reverted",
        severity: Severity::High,
        every_time: true,
        title: "A new policy was not confirmed in time and was taken back",
        hint: "Reload and confirm it, or put the old files back",
    }
    /// Rules end soon.
    RuleExpiring {
        name: "rule_expiring",
        severity: Severity::Medium,
        every_time: false,
        title: "Rules expire soon",
        hint: "Renew them or remove them",
    }
    /// Rules have ended while the monitor ran.
    RuleExpired {
        name: "rule_expired",
        severity: Severity::High,
        every_time: false,
        title: "Rules have expired",
        hint: "Renew them or remove them",
    }
    /// Rules will begin, or have begun.
    RuleBegins {
        name: "rule_begins",
        severity: Severity::Informational,
        every_time: false,
        title: "Rules begin",
        hint: "Nothing: it is for the record",
    }
    /// Fresh geo data changes too much, or is no good.
    GeoDataHeld {
        name: "geo_data_held",
        severity: Severity::High,
        every_time: false,
        title: "Fresh geo data was not taken: what was in place stays",
        hint: "Look at why (`egress-monitor geo stage`); have it fetched again, or take it as it is with `egress-monitor \
               geo stage --for FILE --accept`",
    }
    /// The wall clock was set.
    ClockJump {
        name: "clock_jump",
        severity: Severity::Medium,
        every_time: true,
        title: "The wall clock was set",
        hint: "Nothing, if it was meant, or a time service did it; else find out who (`journalctl -k`, `ausearch`)",
    }
    /// The wall clock is behind a time at which the kernel called itself synchronised.
    ClockBehind {
        name: "clock_behind",
        severity: Severity::High,
        every_time: false,
        title: "The wall clock is behind a time that it had before: rules and budgets go by the later one",
        hint: "Set the clock right; if it is right, and was wrong before: `egress-monitor clock reset --reason TEXT`",
    }
    /// A policy took the place of another.
    PolicyChanged {
        name: "policy_changed",
        severity: Severity::Medium,
        every_time: true,
        title: "The policy has changed",
        hint: "Nothing, if it was meant; High where more passes than before. `egress-monitor changes` says who did it",
    }
    /// Another mode took the place of the one before.
    ModeChanged {
        name: "mode_changed",
        severity: Severity::Medium,
        every_time: true,
        title: "The mode has changed",
        hint: "Nothing, if it was meant; High where nothing is dropped any more. `egress-monitor changes` says who did it",
    }
    /// A file says what nobody puts in force by himself.
    ChangeWaits {
        name: "change_waits",
        severity: Severity::High,
        every_time: false,
        title: "A change of the configuration is not in force: it waits for somebody who tries it",
        hint: "`egress-monitor try FILE --for 5min`, or `egress-monitor reload`; or take the change back",
    }
    /// Somebody had the time that was remembered forgotten.
    ClockReset {
        name: "clock_reset",
        severity: Severity::Medium,
        every_time: true,
        title: "Somebody had the remembered time forgotten: rules and budgets go by the wall clock again",
        hint: "Nothing, if it was meant",
    }
    /// A geo dataset is older than 90 days.
    StaleGeoData {
        name: "stale_geo_data",
        severity: Severity::Low,
        every_time: false,
        title: "A geo dataset is older than 90 days",
        hint: "Import a newer one (`[geo] sources`)",
    }
}
