//! Packets a second over a veth pair: small UDP frames from one CPU, with nothing on the way out, an empty program, the
//! product's, and an nftables rule with the same networks and a counter. What each of the two counted must be what was
//! sent.

use std::{fmt::Write as _, io::Write as _, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{SchedClassifierLinkId, TcAttachOptions},
    },
};
use egress_monitor_tests::{
    measure::{self, Flood, Sent},
    monitor::{
        kernel::{Kernel, Options},
        policy::Policy,
    },
    netns::Namespace,
    stage::INTERFACE,
    wire::{Networks, Wire},
};
use etherparse::PacketBuilder;
use monitor_common::wire::Class;

use crate::{
    plan::Plan,
    rig::{self, Base},
    table::{Goal, Row, Spread, Unit},
};

pub const ROWS: &[&str] = &["veth/1024", "veth/65536"];

const ROUNDS: usize = 9;
const WARM: Duration = Duration::from_millis(100);
const TIME: Duration = Duration::from_millis(700);
/// Bytes of each.
pub const FRAME: usize = 64;

/// A host that sends and one that receives.
pub struct Pair {
    /// The program is on this one's interface.
    pub near: Namespace,
    /// It throws away what is not for it.
    pub far: Namespace,
    /// Between them.
    pub wire: Wire,
    /// The number of the former's interface.
    pub index: u32,
}

impl Pair {
    /// Makes it.
    pub fn new(networks: Networks) -> Result<Self> {
        let (near, far) = (Namespace::new("near")?, Namespace::new("far")?);
        let wire = Wire::lay(&near, INTERFACE, &far, INTERFACE, networks)?;
        let text = near.ip(&["-j", "link", "show", "dev", INTERFACE])?;
        let json: serde_json::Value = serde_json::from_str(&text).context("`ip -j` printed no JSON")?;
        let index = json.pointer("/0/ifindex").and_then(serde_json::Value::as_u64);
        let index = index.context("`ip -j link` has no ifindex")? as u32;
        Ok(Self { near, far, wire, index })
    }

    /// Puts a program on the interface, the first in order.
    pub fn attach(&self, program: &mut SchedClassifier) -> Result<SchedClassifierLinkId> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        self.near
            .run(|| program.attach_with_options(INTERFACE, TcAttachType::Egress, options).map_err(anyhow::Error::from))
            .context("attaching a program (TCX needs Linux 6.6 or newer)")
    }

    /// UDP frames of `count` flows, each to another address of 198.19.0.0/16, and from another port after that.
    pub fn frames(&self, count: u32) -> Result<Vec<u8>> {
        let mut frames = Vec::with_capacity(count as usize * FRAME);
        for number in 0..count {
            let to = 0xc613_0000 | number & 0xffff;
            PacketBuilder::ethernet2(self.wire.near.mac, self.wire.far.mac)
                .ipv4(self.wire.near.v4.octets(), to.to_be_bytes(), 64)
                .udp(4000 + (number >> 16) as u16, 53)
                .write(&mut frames, &[0; FRAME - 42])
                .context("writing a packet")?;
        }
        ensure!(frames.len() == count as usize * FRAME, "frames of another length");
        Ok(frames)
    }
}

/// What is on the way out.
const NOTHING: usize = 0;
const EMPTY: usize = 1;
const OURS: usize = 2;
const NFT: usize = 3;

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let pair = Pair::new(Networks::number(9))?;
    let mut kernel = rig::load(&base.policy, Options { flows: base.config.flows, ..Options::default() })?;
    rig::register(&mut kernel, pair.index)?;
    let mut object = rig::object(&[])?;
    rig::load_empty(&mut object)?;
    let nft = Nft::new(plan, &pair.near, &base.policy);
    if let Err(error) = &nft {
        eprintln!("bench: without nftables: {error:#}");
    }
    let mut rows = Vec::new();
    for (id, flows, least) in [(ROWS[0], 1024, 0.98), (ROWS[1], 65_536, 0.93)] {
        if plan.wants(id) {
            let name = format!("64-byte UDP over veth, {flows} flows");
            let frames = pair.frames(flows)?;
            let (kernel, object) = (&mut kernel, &mut object);
            let mut bench = Bench { pair: &pair, kernel, object, frames: &frames, time: plan.time(TIME) };
            // Of nothing and of ours.
            let mut by_cpu = [Vec::new(), Vec::new()];
            let rounds = plan.rounds(ROUNDS);
            let [nothing, empty, ours, nftables] = plan.interleave(&name, rounds, |variant| {
                let sent = match (variant, &nft) {
                    (NFT, Ok(nft)) => bench.nftables(nft)?,
                    // Left out of the row below.
                    (NFT, Err(_)) => return Ok(f64::NAN),
                    (OURS, _) => bench.ours()?,
                    (EMPTY, _) => bench.empty()?,
                    _ => bench.sent()?,
                };
                match variant {
                    NOTHING => by_cpu[0].push(sent.rate_by_cpu()),
                    OURS => by_cpu[1].push(sent.rate_by_cpu()),
                    _ => {}
                }
                Ok(sent.rate())
            })?;
            let mut row = Row::new(id, name, Spread::of(&ours), Unit::PacketsPerSecond)
                .with("nothing", Spread::of(&nothing))
                .with("empty program", Spread::of(&empty));
            if nft.is_ok() {
                row = row.with("nftables", Spread::of(&nftables));
            }
            row = row
                .check("of nothing", Spread::ratio(&ours, &nothing), Unit::Times, Goal::AtLeast(least))
                .check("by CPU time", Spread::ratio(&by_cpu[1], &by_cpu[0]), Unit::Times, None)
                .check("of empty program", Spread::ratio(&ours, &empty), Unit::Times, None);
            rows.push(match &nft {
                Ok(nft) => row
                    .check("of nftables", Spread::ratio(&ours, &nftables), Unit::Times, Goal::MoreThan(1.0))
                    .note(format!("nftables: an egress chain, `ip daddr != @inside counter`, {} ranges", nft.ranges)),
                Err(error) => row.note(format!("nftables was NOT measured: {error:#}")),
            });
        }
    }
    Ok(rows)
}

struct Bench<'a> {
    pair: &'a Pair,
    kernel: &'a mut Kernel,
    object: &'a mut Ebpf,
    frames: &'a [u8],
    time: Duration,
}

impl Bench<'_> {
    fn sent(&self) -> Result<Sent> {
        self.pair.near.run(|| {
            measure::pin(0)?;
            Flood::new(INTERFACE, self.frames, FRAME)?.run(WARM, self.time)
        })
    }

    fn empty(&mut self) -> Result<Sent> {
        let link = self.pair.attach(rig::program(self.object, "empty")?)?;
        let sent = self.sent();
        rig::program(self.object, "empty")?.detach(link)?;
        sent
    }

    fn ours(&mut self) -> Result<Sent> {
        // Whatever another variant's round left out: an epoch of this round's own.
        self.kernel.flip()?;
        let link = self.pair.attach(self.kernel.program("egress")?)?;
        let sent = self.sent();
        self.kernel.program("egress")?.detach(link)?;
        let sent = sent?;
        let drained = self.kernel.flip()?;
        let counted: u64 = drained.interfaces.iter().map(|counts| counts.hook.packets).sum();
        let flows = (self.frames.len() / FRAME) as u64;
        ensure!(counted == sent.before + sent.frames, "{counted} packets counted of {sent:?}");
        ensure!(drained.flows.len() as u64 == flows, "{} flows and not {flows}", drained.flows.len());
        Ok(sent)
    }

    fn nftables(&self, nft: &Nft) -> Result<Sent> {
        nft.counted()?;
        nft.hook()?;
        let sent = self.sent();
        nft.unhook()?;
        let (sent, counted) = (sent?, nft.counted()?);
        ensure!(counted == sent.before + sent.frames, "nftables counted {counted} packets of {sent:?}");
        Ok(sent)
    }
}

/// A set of the networks inside the region, and a chain on the way out that is there when wanted.
struct Nft<'a> {
    namespace: &'a Namespace,
    ranges: usize,
}

impl<'a> Nft<'a> {
    fn new(plan: &Plan, namespace: &'a Namespace, policy: &Policy) -> Result<Self> {
        let ranges = inside(policy);
        plan.say(&format!("an nftables set of {} ranges", ranges.len()));
        let mut text = String::from(
            "table netdev bench {\n counter left { }\n set inside {\n  type ipv4_addr\n  flags interval\n  auto-merge\n  elements = { ",
        );
        for (first, last) in &ranges {
            let (first, last) = (std::net::Ipv4Addr::from_bits(*first), std::net::Ipv4Addr::from_bits(*last));
            // Writing to a String does not fail.
            let _ = if first == last { write!(text, "{first}, ") } else { write!(text, "{first}-{last}, ") };
        }
        text.push_str("}\n }\n}\n");
        let nft = Self { namespace, ranges: ranges.len() };
        nft.run(&["-f", "-"], &text)?;
        Ok(nft)
    }

    /// `nft ARGUMENTS` with `input`; gives back what it printed.
    fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.namespace.command("nft")?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let missing = "cannot start `nft`: install it (Debian: `apt-get install nftables`)";
        let mut child = command.spawn().context(missing)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).context("writing to `nft`")?;
        }
        let output = child.wait_with_output().context("waiting for `nft`")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`nft {}`: {}", arguments.join(" "), said.lines().next().unwrap_or("no reason given"));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn hook(&self) -> Result<()> {
        let chain = format!("{{ type filter hook egress device \"{INTERFACE}\" priority 0; policy accept; }}");
        let rule = "ip daddr != @inside counter name \"left\"";
        let script = format!("add chain netdev bench out {chain}\nadd rule netdev bench out {rule}\n");
        self.run(&["-f", "-"], &script).map(drop)
    }

    fn unhook(&self) -> Result<()> {
        self.run(&["-f", "-"], "flush chain netdev bench out\ndelete chain netdev bench out\n").map(drop)
    }

    /// What the rule has counted since this was asked before.
    fn counted(&self) -> Result<u64> {
        // A counter of its own: a rule's would be listed with every element of the set.
        let text = self.run(&["-j", "reset", "counter", "netdev", "bench", "left"], "")?;
        let json: serde_json::Value = serde_json::from_str(&text).context("`nft -j` printed no JSON")?;
        let parts = json["nftables"].as_array().context("`nft -j` has no nftables")?;
        parts.iter().find_map(|part| part["counter"]["packets"].as_u64()).context("`nft -j` has no counter")
    }
}

/// The IPv4 ranges that every source places inside, neighbours joined.
fn inside(policy: &Policy) -> Vec<(u32, u32)> {
    let intervals = policy.image.v4_intervals();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    let ends = intervals.iter().skip(1).map(|(start, _)| start - 1).chain([u32::MAX]);
    for (&(first, class_id), last) in intervals.iter().zip(ends) {
        if policy.classes[class_id as usize].class == Class::Inside {
            match ranges.last_mut() {
                Some(range) if range.1.checked_add(1) == Some(first) => range.1 = last,
                _ => ranges.push((first, last)),
            }
        }
    }
    ranges
}
