//! Interface patterns in, interfaces of this network namespace out.

use std::collections::BTreeSet;

use monitor_common::wire::Link;

use super::{KernelError, sys};

/// An interface to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name now.
    pub name: String,
    /// Index.
    pub index: u32,
    /// What its frames begin with.
    pub link: Link,
}

/// The interfaces that `patterns` (names, globs, `auto`) name, by index, each once.
///
/// # Errors
/// A name or glob that fits none, `auto` without a default route, an unreadable interface.
pub fn resolve(patterns: &[String]) -> Result<Vec<Interface>, KernelError> {
    let present = sys::interfaces().map_err(KernelError::map("can't list the interfaces"))?;
    // The calling thread's network namespace, as everything here.
    let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let names = select(patterns, &present, &default_route_interfaces(&read("route"), &read("ipv6_route")))?;
    let devices = sys::Devices::open().map_err(KernelError::map("can't ask about interfaces"))?;
    names
        .into_iter()
        .map(|(index, name)| match devices.link_type(&name) {
            Ok(arphrd) => Ok(Interface { link: link(arphrd), index, name }),
            Err(error) => Err(KernelError::LinkType { interface: name, error }),
        })
        .collect()
}

fn select(
    patterns: &[String],
    present: &[(u32, String)],
    default_route: &BTreeSet<String>,
) -> Result<BTreeSet<(u32, String)>, KernelError> {
    let list = || present.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
    let mut chosen = BTreeSet::new();
    for pattern in patterns {
        if pattern == "auto" {
            chosen.extend(present.iter().filter(|(_, name)| default_route.contains(name)).cloned());
            if chosen.is_empty() {
                return Err(KernelError::NoDefaultRoute { present: list() });
            }
            continue;
        }
        let glob =
            glob::Pattern::new(pattern).map_err(|error| KernelError::BadPattern { pattern: pattern.clone(), error })?;
        let matching: Vec<_> = present.iter().filter(|(_, name)| glob.matches(name)).cloned().collect();
        if matching.is_empty() {
            return Err(KernelError::NoSuchInterface { pattern: pattern.clone(), present: list() });
        }
        chosen.extend(matching);
    }
    Ok(chosen)
}

/// Devices of default routes in `/proc/net/route` and `/proc/net/ipv6_route` (their columns: proc_net(5)).
fn default_route_interfaces(v4: &str, v6: &str) -> BTreeSet<String> {
    const RTF_UP: u32 = 1;
    const RTF_REJECT: u32 = 0x200;
    let usable =
        |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & RTF_UP != 0 && flags & RTF_REJECT == 0);
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [name, "00000000", _, flags, _, _, _, "00000000", ..] = columns[..] else { return None };
        usable(flags).then(|| name.to_owned())
    });
    let v6 = v6.lines().filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let ["00000000000000000000000000000000", "00", _, _, _, _, _, _, flags, name] = columns[..] else {
            return None;
        };
        usable(flags).then(|| name.to_owned())
    });
    v4.chain(v6).filter(|name| name != "lo").collect()
}

/// The link layer of an `ARPHRD_*` number (include/uapi/linux/if_arp.h).
fn link(arphrd: u16) -> Link {
    match arphrd {
        // ETHER, LOOPBACK
        1 | 772 => Link::Ethernet,
        // RAWIP, PPP, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, NONE: nothing before IP on the way out. PPP adds its own later.
        519 | 512 | 768 | 769 | 776 | 778 | 823 | 0xfffe => Link::Ip,
        _ => Link::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        eth2\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
    const V6: &str = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003 eth3\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n";

    fn present() -> Vec<(u32, String)> {
        ["lo", "eth0", "eth1", "wg0"].iter().enumerate().map(|(i, n)| (i as u32 + 1, (*n).into())).collect()
    }

    fn names(patterns: &[&str]) -> Result<Vec<String>, String> {
        let patterns: Vec<_> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let chosen = select(&patterns, &present(), &default_route_interfaces(V4, V6));
        let chosen = chosen.map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|(_, name)| name).collect())
    }

    #[test]
    fn default_routes_of_both_families_are_found_and_rejecting_ones_are_not() {
        assert_eq!(default_route_interfaces(V4, V6), ["eth0", "eth3"].map(String::from).into());
    }

    #[test]
    fn auto_names_and_globs_add_up_without_repeats() {
        assert_eq!(names(&["auto"]).unwrap(), ["eth0"]);
        assert_eq!(names(&["auto", "eth*", "eth0"]).unwrap(), ["eth0", "eth1"]);
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        assert_eq!(names(&["eth9"]).unwrap_err(), "interface 'eth9' does not exist: there are lo, eth0, eth1, wg0");
        let none = select(&["auto".into()], &present(), &BTreeSet::new()).unwrap_err().to_string();
        assert_eq!(
            none,
            "no interface carries a default route: name one with --interface, there are lo, eth0, eth1, wg0"
        );
    }
}
