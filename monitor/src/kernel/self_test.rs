//! The self-test of a policy in the maps, through the kernel: the program `probe` finds the tables as packets do, by control word,
//! slot and header, and has to answer as the image does on the host. Called before a policy is switched to and again
//! when it is in force. Nothing is counted.

use aya::programs::{TestRun as _, TestRunOptions};
use monitor_common::{
    classify::{build::Image, classify},
    wire::{Address, ProbeQuery},
};

use monitor_policy::ImageAt;

use super::{
    Kernel, KernelError, boot_ns,
    object::{self, PROBE},
};

/// Destinations looked up at most: a few milliseconds.
const QUERIES: usize = 1024;

/// A frame that BPF_PROG_TEST_RUN accepts; its content is never looked at.
const FRAME: [u8; 64] = [0; 64];

/// `struct __sk_buff` as far as it is needed: where `mark` and `cb` are in it, and its size.
const MARK: usize = 8;
const CONTROL_BLOCK: usize = 48;
const CONTEXT: usize = 192;

impl Kernel {
    /// Holds answers of the policy in `slot` (or [`ProbeQuery::IN_FORCE`]) against those of its image.
    pub(super) fn self_test(&mut self, slot: u32, image: &Image) -> Result<(), KernelError> {
        let program = object::program(&mut self.ebpf, PROBE)?;
        for query in queries(image) {
            let mut context = [0; CONTEXT];
            context[MARK..MARK + 4].copy_from_slice(&slot.to_ne_bytes());
            for (word, place) in query.words().iter().zip(context[CONTROL_BLOCK..].chunks_exact_mut(4)) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            let expected = |boot_ns| {
                let ProbeQuery { version, address, protocol, port } = query;
                let found = classify(&ImageAt { image, boot_ns }, version, address, protocol, Some(port));
                found.map_or(ProbeQuery::NO_ANSWER, |found| ProbeQuery::reply(&found))
            };
            let options = TestRunOptions { data_in: Some(&FRAME), ctx_in: Some(&context), ..TestRunOptions::default() };
            let before = boot_ns();
            let run = program.test_run(options);
            let run = run.map_err(|error| KernelError::Load(format!("the probe program does not run: {error}")))?;
            // A rule may have begun or ended between the two.
            if ![before, boot_ns()].map(expected).contains(&run.return_value) {
                let at = format!("for {} port {}", shown(&query), query.port);
                return Err(KernelError::Differs { what: "the answer", at });
            }
        }
        Ok(())
    }
}

fn shown(query: &ProbeQuery) -> std::net::IpAddr {
    let Address { high, low } = query.address;
    match query.version {
        4 => std::net::Ipv4Addr::from_bits(low as u32).into(),
        _ => std::net::Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
    }
}

/// Both ends of an interval of each class, of each family, with the ends of each of its port ranges; thinned evenly to
/// what there is time for.
fn queries(image: &Image) -> Vec<ProbeQuery> {
    let mut all = Vec::new();
    let mut of = |version, class_id: u32, ends: [u128; 2]| {
        let Some(row) = image.classes.get(class_id as usize) else { return };
        let start = row.rules_start as usize;
        let rows = image.rules.get(start..start + row.rules_len as usize).unwrap_or_default();
        let mut ports: Vec<(u8, u16)> = vec![(6, 443)];
        ports.extend(rows.iter().flat_map(|row| [(row.protocol, row.port_low), (row.protocol, row.port_high)]));
        for end in ends {
            let address = Address { high: (end >> 64) as u64, low: end as u64 };
            all.extend(ports.iter().map(|&(protocol, port)| ProbeQuery { version, address, protocol, port }));
        }
    };
    let v4 = image.v4_intervals();
    once_a_class(&v4, image.classes.len(), |at, class_id| {
        let end = v4.get(at + 1).map_or(u32::MAX, |next| next.0 - 1);
        of(4, class_id, [v4[at].0.into(), end.into()]);
    });
    let v6 = image.v6_intervals();
    once_a_class(&v6, image.classes.len(), |at, class_id| {
        let end = v6.get(at + 1).map_or(u128::MAX, |next| next.0 - 1);
        of(6, class_id, [v6[at].0, end]);
    });
    let step = all.len().div_ceil(QUERIES).max(1);
    all.into_iter().step_by(step).collect()
}

/// Visits the first and the middle interval of each class.
fn once_a_class<A>(intervals: &[(A, u32)], classes: usize, mut visit: impl FnMut(usize, u32)) {
    for half in [0, intervals.len() / 2] {
        let mut seen = vec![false; classes];
        for (at, (_, class_id)) in intervals.iter().enumerate().skip(half) {
            if let Some(seen) = seen.get_mut(*class_id as usize)
                && !std::mem::replace(seen, true)
            {
                visit(at, *class_id);
            }
        }
    }
}
