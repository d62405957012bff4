//! What the monitor cannot see.

/// What the monitor can't see, for every report: the first section of docs/limits.md in a line each.
pub const BLIND_SPOTS: [&str; 10] = [
    "traffic that no kernel interface of this host carries: DPDK/VFIO, RDMA, AF_VSOCK, SR-IOV virtual functions passed to a \
     guest, the BMC, hardware flow offload",
    "other network namespaces of this host: an instance of its own does that",
    "a relay inside the region: a DNS resolver, mail relays, proxies, bastions",
    "traffic that an interface sends beside the hook: counted and told, not judged",
    "sockets that open a way past the hook: 32-bit system calls, sockets that were open before",
    "a screen inside the region that somebody outside is looking at",
    "what an encrypted tunnel carries: only its outer destination is known, IPsec by policy",
    "a tunnel at an unusual port: what is inside is data to us",
    "root on the host can detach anything",
    "an address's country is what datasets say",
];

#[cfg(test)]
mod tests {
    use super::BLIND_SPOTS;

    #[test]
    fn status_lists_what_the_first_section_of_the_limits_has() {
        let limits = include_str!("../../../docs/limits.md");
        let (_, rest) = limits.split_once("## In principle").unwrap();
        let section = rest.split("\n## ").next().unwrap();
        let bullets: Vec<&str> = section.split("\n- **").skip(1).collect();
        assert_eq!(bullets.len(), BLIND_SPOTS.len());
        for (bullet, spot) in bullets.iter().zip(BLIND_SPOTS) {
            let (head, text) = bullet.split_once("**").unwrap();
            let (about, details) = spot.split_once(": ").unwrap_or((spot, ""));
            assert_eq!(head.trim_end_matches([':', '.']).to_lowercase(), about.to_lowercase());
            for detail in details.split(", ") {
                assert!(text.contains(detail), "{detail} is not in: {text}");
            }
        }
    }
}
