//! Two hosts and a wire between them, and the small frames that go over it.

use anyhow::{Context as _, Result, ensure};
use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    tc::{SchedClassifierLinkId, TcAttachOptions},
};
use egress_monitor_tests::{
    netns::{self, Namespace},
    stage::INTERFACE,
    wire::{Networks, Wire},
};
use etherparse::PacketBuilder;

/// Bytes of each frame.
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
        let index = near.run(|| netns::index(INTERFACE))?;
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

/// The frames of each of `cores`: flows of its own where there are enough, as on a host whose sockets stay where they
/// are; else the same.
pub fn shares(frames: &[u8], cores: usize) -> Vec<&[u8]> {
    let flows = frames.len() / FRAME;
    if flows < cores { vec![frames; cores] } else { frames.chunks(flows.div_ceil(cores) * FRAME).collect() }
}

#[cfg(test)]
mod tests {
    use super::{FRAME, shares};

    #[test]
    fn cores_share_flows_out_and_send_a_single_one_all() {
        let frames: Vec<u8> = (0..5).flat_map(|number| [number; FRAME]).collect();
        let firsts = |flows: usize, cores| -> Vec<(u8, usize)> {
            shares(&frames[..flows * FRAME], cores).iter().map(|share| (share[0], share.len() / FRAME)).collect()
        };
        assert_eq!(firsts(5, 1), [(0, 5)]);
        assert_eq!(firsts(4, 2), [(0, 2), (2, 2)]);
        assert_eq!(firsts(5, 2), [(0, 3), (3, 2)]);
        assert_eq!(firsts(1, 2), [(0, 1), (0, 1)]);
    }
}
