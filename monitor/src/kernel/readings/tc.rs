//! Queueing disciplines and filters as rtnetlink describes them, attribute by attribute: a kind that nobody here knows
//! must not keep the others from being read. A message's type and payload in, what the account asks out.

use netlink_packet_core::NlasIterator;

use crate::model::readings::{Discipline, FilterAction, Queue};

/// Message types, attributes and structs of include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls,gen_stats}.h and
/// tc_act/tc_{gact,mirred}.h.
const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const ROOT: u32 = u32::MAX;
const CLSACT: u32 = 0xffff_fff1;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_HW_OFFLOAD: u16 = 12;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_NETEM_CORRUPT: u16 = 4;
const TCA_BPF_ID: u16 = 11;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_STATS: u16 = 4;
/// Of mirred and gact.
const TCA_ACT_PARMS: u16 = 2;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
const TCA_INGRESS_REDIR: u32 = 3;

/// Length of `struct tcmsg`, of `struct tc_netem_qopt`.
const TCMSG: usize = 20;
const NETEM: usize = 24;

/// In which attribute of its options a classifier has its actions.
const ACTIONS: [(&str, u16); 7] =
    [("u32", 7), ("matchall", 2), ("flower", 3), ("bpf", 1), ("basic", 3), ("fw", 4), ("cgroup", 1)];

/// Kinds that have no others inside, or none that is of interest: those of which the kernel is not asked further.
const LEAVES: [&str; 12] = [
    "",
    "noop",
    "noqueue",
    "pfifo",
    "bfifo",
    "pfifo_fast",
    "pfifo_head_drop",
    "fq",
    "fq_codel",
    "fq_pie",
    "codel",
    "pie",
];

/// Whether a root of this kind may have others below it.
pub(super) fn is_classful(kind: &str) -> bool {
    !LEAVES.contains(&kind)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// An attribute's value.
fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    NlasIterator::new(attributes).flatten().find(|one| one.kind() == kind).and_then(|one| value(one.into_inner()))
}

/// What follows an attribute's header.
fn value(attribute: &[u8]) -> Option<&[u8]> {
    let length = u16::from_ne_bytes(attribute.get(..2)?.try_into().ok()?);
    attribute.get(4..length.into())
}

/// A queueing discipline of any device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QdiscNews {
    pub ifindex: u32,
    pub discipline: Discipline,
    pub waiting: u32,
    /// The hardware does its work.
    pub offloaded: bool,
}

impl QdiscNews {
    /// Reads a message; `None`: it is another.
    pub fn of(message: u16, payload: &[u8]) -> Option<Self> {
        let (header, attributes) = payload.split_at_checked(TCMSG).filter(|_| message == RTM_NEWQDISC)?;
        let mut kind = text(find(attributes, TCA_KIND)?);
        let corrupt = || find(find(attributes, TCA_OPTIONS)?.get(NETEM..)?, TCA_NETEM_CORRUPT);
        if kind == "netem" && corrupt().and_then(|of| number(of, 0)).is_some_and(|probability| probability > 0) {
            // It cuts super-packets up to corrupt one segment.
            kind = "netem(corrupt)".into();
        }
        let stats = find(attributes, TCA_STATS2).and_then(|stats| find(stats, TCA_STATS_QUEUE)).unwrap_or_default();
        Some(Self {
            ifindex: number(header, 4)?,
            discipline: Discipline {
                handle: number(header, 8)?,
                parent: number(header, 12)?,
                kind,
                drops: number(stats, 8).unwrap_or(0),
            },
            waiting: number(stats, 0).unwrap_or(0),
            offloaded: find(attributes, TCA_HW_OFFLOAD).is_some_and(|on| on == [1]),
        })
    }

    /// Whether it is below a root, and what it says is the kernel's own.
    pub fn is_below(&self) -> bool {
        !self.offloaded && !matches!(self.discipline.parent, ROOT | CLSACT)
    }

    /// As a root.
    pub fn root(self) -> Queue {
        if self.offloaded {
            return Queue::default();
        }
        let Discipline { handle, kind, drops, .. } = self.discipline;
        Queue { id: (handle, kind), drops, waiting: self.waiting }
    }
}

/// The actions of a device's filters on the way out, in their order, that take packets away for good. `ours`: the program
/// of a filter, where ours is one, with those before it left out: what they take has not passed it. So are actions and
/// blocks that are another device's, too.
pub(super) fn actions<'a>(
    messages: impl Iterator<Item = (u16, &'a [u8])>,
    ifindex: u32,
    ours: Option<u32>,
) -> Vec<FilterAction> {
    let mut behind = ours.is_none();
    let mut actions = Vec::new();
    for (_, payload) in messages.filter(|(kind, _)| *kind == RTM_NEWTFILTER) {
        let Some((header, attributes)) = payload.split_at_checked(TCMSG) else { continue };
        let (Some(kind), Some(options)) = (find(attributes, TCA_KIND), find(attributes, TCA_OPTIONS)) else { continue };
        let kind = text(kind);
        if number(header, 4) != Some(ifindex) {
            continue;
        }
        if !behind {
            behind = kind == "bpf" && find(options, TCA_BPF_ID).and_then(|id| number(id, 0)) == ours;
            continue;
        }
        let Some((_, place)) = ACTIONS.iter().find(|(classifier, _)| *classifier == kind) else { continue };
        let list = NlasIterator::new(find(options, *place).unwrap_or_default()).flatten();
        actions.extend(list.filter_map(|one| action(value(one.into_inner())?)));
    }
    actions
}

/// One action, if it takes packets away and is this filter's alone.
fn action(attributes: &[u8]) -> Option<FilterAction> {
    let kind = text(find(attributes, TCA_ACT_KIND)?);
    let parms = find(find(attributes, TCA_ACT_OPTIONS)?, TCA_ACT_PARMS)?;
    let stats = find(attributes, TCA_ACT_STATS)?;
    // `struct tc_mirred` begins with what `struct tc_gact` is: number, capabilities, what is done then, references, bindings.
    let (id, then, bindings) = (number(parms, 0)?, number(parms, 8)?, number(parms, 16)?);
    let packets = match kind.as_str() {
        "mirred" if matches!(number(parms, 20)?, TCA_EGRESS_REDIR | TCA_INGRESS_REDIR) && then == TC_ACT_STOLEN => {
            number(find(stats, TCA_STATS_BASIC)?, 8)?
        }
        "gact" => number(find(stats, TCA_STATS_QUEUE)?, 8)?,
        _ => return None,
    };
    (bindings <= 1).then_some(FilterAction { id: (kind, id), packets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::devices::tests::attribute;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn message(ifindex: u32, handle: u32, parent: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        [words(&[0, ifindex, handle, parent, 0]), attributes.concat()].concat()
    }

    #[test]
    fn a_discipline_is_read_with_its_place_drops_and_length() {
        let stats = attribute(TCA_STATS2, &attribute(TCA_STATS_QUEUE, &words(&[4, 400, 7, 0, 0])));
        let payload = message(9, 0x1_0000, ROOT, &[attribute(TCA_KIND, b"htb\0"), stats.clone()]);
        let read = QdiscNews::of(RTM_NEWQDISC, &payload).expect("a discipline");
        assert!(!read.is_below());
        assert_eq!(read.root(), Queue { id: (0x1_0000, "htb".into()), drops: 7, waiting: 4 });
        let netem = |probability| {
            let corrupt = attribute(TCA_NETEM_CORRUPT, &words(&[probability, 0]));
            let options = attribute(TCA_OPTIONS, &[vec![0; NETEM], corrupt].concat());
            message(9, 0x2_0000, 0x1_0001, &[attribute(TCA_KIND, b"netem\0"), options, stats.clone()])
        };
        let read = QdiscNews::of(RTM_NEWQDISC, &netem(0)).expect("a discipline");
        assert!(read.is_below());
        let expected = Discipline { parent: 0x1_0001, handle: 0x2_0000, kind: "netem".into(), drops: 7 };
        assert_eq!((read.ifindex, read.discipline), (9, expected));
        let read = QdiscNews::of(RTM_NEWQDISC, &netem(1)).expect("a discipline");
        assert_eq!(read.discipline.kind, "netem(corrupt)");
        for (kind, payload) in
            [(RTM_NEWTFILTER, &payload[..]), (RTM_NEWQDISC, &payload[..19]), (RTM_NEWQDISC, &[0; 24][..])]
        {
            assert_eq!(QdiscNews::of(kind, payload), None);
        }
    }

    #[test]
    fn what_the_hardware_or_the_way_in_says_of_drops_is_left_out() {
        let of = |parent, offloaded: bool| {
            let attributes = [attribute(TCA_KIND, b"any\0"), attribute(TCA_HW_OFFLOAD, &[u8::from(offloaded)])];
            QdiscNews::of(RTM_NEWQDISC, &message(9, 0x1_0000, parent, &attributes)).expect("a discipline")
        };
        assert!(of(0x2_0001, false).is_below());
        assert!(!of(0x2_0001, true).is_below() && !of(CLSACT, false).is_below());
        assert_eq!(of(ROOT, true).root(), Queue::default());
    }

    fn mirred(id: u32, then: u32, bindings: u32, way: u32, packets: u32) -> Vec<u8> {
        let parms = attribute(TCA_ACT_PARMS, &words(&[id, 0, then, 1, bindings, way, 5]));
        let basic = attribute(TCA_STATS_BASIC, &words(&[0, 0, packets, 0]));
        [
            attribute(TCA_ACT_KIND, b"mirred\0"),
            attribute(TCA_ACT_OPTIONS, &parms),
            attribute(TCA_ACT_STATS | 0x8000, &basic),
        ]
        .concat()
    }

    fn filter(ifindex: u32, kind: &str, place: u16, actions: &[Vec<u8>]) -> Vec<u8> {
        let list: Vec<u8> = actions.iter().zip(1..).flat_map(|(one, at)| attribute(at, one)).collect();
        message(
            ifindex,
            1,
            0xffff_fff3,
            &[attribute(TCA_KIND, kind.as_bytes()), attribute(TCA_OPTIONS, &attribute(place, &list))],
        )
    }

    fn read(filters: &[Vec<u8>], ours: Option<u32>) -> Vec<(u32, u32)> {
        let messages = filters.iter().map(|filter| (RTM_NEWTFILTER, filter.as_slice()));
        actions(messages, 9, ours).into_iter().map(|one| (one.id.1, one.packets)).collect()
    }

    #[test]
    fn what_redirects_or_drops_is_read_with_its_count_and_nothing_else() {
        let gact = [
            attribute(TCA_ACT_KIND, b"gact\0"),
            attribute(TCA_ACT_OPTIONS, &attribute(TCA_ACT_PARMS, &words(&[8, 0, 2, 1, 1]))),
            attribute(TCA_ACT_STATS, &attribute(TCA_STATS_QUEUE, &words(&[0, 0, 13, 0, 0]))),
        ];
        let filters = [
            filter(9, "u32\0", 7, &[mirred(1, TC_ACT_STOLEN, 1, TCA_EGRESS_REDIR, 11)]),
            // A copy; one that others have too; one that goes on to the queue.
            filter(9, "matchall\0", 2, &[mirred(2, 3, 1, 2, 12), mirred(3, TC_ACT_STOLEN, 2, TCA_EGRESS_REDIR, 12)]),
            filter(9, "matchall\0", 2, &[mirred(4, 0, 1, TCA_EGRESS_REDIR, 12), gact.concat()]),
            filter(9, "flower\0", 3, &[mirred(5, TC_ACT_STOLEN, 1, TCA_INGRESS_REDIR, 14)]),
            // Of a block of several devices.
            filter(u32::MAX, "u32\0", 7, &[mirred(6, TC_ACT_STOLEN, 1, TCA_EGRESS_REDIR, 15)]),
        ];
        assert_eq!(read(&filters, None), [(1, 11), (8, 13), (5, 14)]);
        assert_eq!(read(&[vec![1; 19], vec![0; 20], vec![255; 40]], None), []);
    }

    #[test]
    fn of_filters_only_those_behind_ours_count() {
        let ours = |program| {
            let options = attribute(TCA_OPTIONS, &attribute(TCA_BPF_ID, &words(&[program])));
            message(9, 1, 0xffff_fff3, &[attribute(TCA_KIND, b"bpf\0"), options])
        };
        let away = |id| filter(9, "u32\0", 7, &[mirred(id, TC_ACT_STOLEN, 1, TCA_EGRESS_REDIR, 1)]);
        let filters = [away(1), ours(7), away(2), ours(8), away(3)];
        assert_eq!(read(&filters, Some(8)), [(3, 1)]);
        assert_eq!(read(&filters, Some(9)), []);
    }
}
