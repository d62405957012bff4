//! Files as distributions ship them, and what of them a policy cuts off.

use std::collections::BTreeSet;

use super::*;

fn all(needs: Vec<Need>) -> Vec<String> {
    let of = |need: Need| {
        let peer = match need.peer {
            Peer::At(address) => address.to_string(),
            Peer::Named(name) => name,
        };
        format!("{} {peer} {}/{}", need.what, need.port, need.protocol)
    };
    needs.into_iter().map(of).collect()
}

#[test]
fn what_the_host_is_configured_to_need_is_read_and_what_is_not_understood_left_out() {
    let text = "# by hand\nsearch example.org\nnameserver 198.51.100.53 ; first\nnameserver fe80::1%eth0\nnameserver\n nameserver 2001:db8::53\n";
    assert_eq!(
        all(files::resolvers(text, "f")),
        ["resolver 198.51.100.53 53/17", "resolver fe80::1 53/17", "resolver 2001:db8::53 53/17"]
    );
    let text = "pool 2.debian.pool.ntp.org iburst\nserver -4 198.51.100.123 minpoll 4\n! server off.example.org\n#server x\ndriftfile /x\npeer";
    assert_eq!(
        all(files::servers(text, "f")),
        ["time server 2.debian.pool.ntp.org 123/17", "time server 198.51.100.123 123/17"]
    );
    let text = "[Time]\n#NTP=\nNTP=192.0.2.1 time.example.org\nFallbackNTP = [2001:db8::1]\nPollIntervalMinSec=32\n";
    assert_eq!(
        all(files::timesyncd(text, "f")),
        ["time server 192.0.2.1 123/17", "time server time.example.org 123/17", "time server 2001:db8::1 123/17"]
    );
    let text = "deb [arch=amd64 signed-by=/usr/x.gpg] https://user:word@deb.example.org:8443/debian bookworm main\n\
                deb-src http://192.0.2.7/debian/ bookworm main # http://no.example.org\n# deb http://off.example.org/ x\n\
                deb cdrom://x/ y\ndeb file:///srv x\n";
    assert_eq!(
        all(files::mirrors(text, "f")),
        ["package mirror deb.example.org 8443/6", "package mirror 192.0.2.7 80/6"]
    );
    let text =
        "Types: deb\nURIs: http://deb.example.org/debian\n tor+https://[2001:db8::7]/debian\nSuites: https-like\n";
    assert_eq!(
        all(files::mirrors(text, "f")),
        ["package mirror deb.example.org 80/6", "package mirror 2001:db8::7 443/6"]
    );
}

/// A line of the table; addresses as the kernel of this machine would write them.
fn line(local: (&[u8], u16), remote: (&[u8], u16), state: &str) -> String {
    let end = |(address, port): (&[u8], u16)| {
        let words = address.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")));
        words.fold(String::new(), |text, word| text + &format!("{word:08X}")) + &format!(":{port:04X}")
    };
    format!(
        "   0: {} {} {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100\n",
        end(local),
        end(remote)
    )
}

#[test]
fn open_connections_are_read_by_the_end_that_means_something() {
    let here = [198, 51, 100, 1];
    let table = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".into(),
        line((&[0; 4], 22), (&[0; 4], 0), "0A"),
        line((&here, 22), (&[192, 0, 2, 9], 51_000), "01"),
        line((&here, 40_000), (&[192, 0, 2, 8], 443), "01"),
        line((&here, 40_001), (&[192, 0, 2, 7], 443), "06"),
        line((&[127, 0, 0, 1], 40_002), (&[127, 0, 0, 1], 22), "01"),
        "   5: 0164".into(),
    ]
    .concat();
    let found = sessions::read(&table, TCP);
    let of = |need: &Need| (need.by.clone(), need.peer.clone(), need.source_port);
    assert_eq!(
        found.iter().map(of).collect::<Vec<_>>(),
        [
            ("port 22 here".into(), Peer::At([192, 0, 2, 9].into()), Some(22)),
            ("port 443 there".into(), Peer::At([192, 0, 2, 8].into()), Some(40_000)),
        ]
    );
    let v6 = "2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap();
    let found = sessions::read(&line((&v6.octets(), 1), (&v6.octets(), 2), "01"), UDP);
    assert_eq!((found[0].peer.clone(), found[0].port, found[0].protocol), (Peer::At(v6.into()), 2, UDP));
    for end in ["", "0:", "00000000:zz", "0000000g:0016", &"é".repeat(8)] {
        assert_eq!(sessions::read(&format!("0: {end} {end} 01\n"), TCP), [], "{end}");
    }
}

#[test]
fn what_the_policy_denies_of_them_is_named_once_with_where_it_is() {
    let config = "[zone]\ninside = \"DE\"\n[management]\nnetworks = [\"192.0.2.64/26\"]\nsource_ports = [\"tcp/22\"]\n\
                  [[site]]\nname = \"far\"\ncountry = \"SG\"\nnetworks = [\"192.0.2.0/25\", \"2001:db8::/32\"]\n\
                  [[site]]\nname = \"near\"\ncountry = \"DE\"\nnetworks = [\"198.51.100.0/24\"]\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, config).unwrap();
    let inputs = crate::config::inputs::read(Some(&file)).unwrap();
    let resolver = |address: &str| files::resolvers(&format!("nameserver {address}"), "resolv.conf");
    let session = |peer: [u8; 4], port, local| {
        let listens = line((&[0; 4], 22), (&[0; 4], 0), "0A");
        sessions::read(&(listens + &line((&[198, 51, 100, 1], local), (&peer, port), "01")), TCP)
    };
    let needs: BTreeSet<Need> = [
        resolver("192.0.2.53"),
        resolver("198.51.100.53"),
        resolver("127.0.0.53"),
        resolver("::ffff:192.0.2.54"),
        resolver("2001:db8::53"),
        // By the port here, and not.
        session([192, 0, 2, 65], 50_000, 22),
        session([192, 0, 2, 65], 443, 50_000),
        session([192, 0, 2, 65], 443, 50_001),
        session([192, 0, 2, 9], 50_000, 22),
        session([192, 0, 2, 9], 50_001, 22),
    ]
    .into_iter()
    .flatten()
    .collect();
    let cut = judge(&needs, &inputs.policy, 0);
    let of = |cut: &CutOff| format!("{} {} {} {} {}", cut.what, cut.by, cut.address, cut.class, cut.country);
    assert_eq!(
        cut.iter().map(of).collect::<Vec<_>>(),
        [
            "open connection port 22 here 192.0.2.9 outside SG",
            "open connection port 443 there 192.0.2.65 outside SG",
            "resolver resolv.conf 192.0.2.53 outside SG",
            "resolver resolv.conf 192.0.2.54 outside SG",
            "resolver resolv.conf 2001:db8::53 outside SG",
        ]
    );
}

#[test]
fn pppoe_is_warned_of_where_its_frames_are_dropped() {
    let of = |devices: &[&str], reason: Reason| pppoe_of(devices, reason.bit());
    assert!(of(&["ppp0", "ppp1"], Reason::Pppoe).is_some_and(|why| why.starts_with("ppp0, ppp1: if that is PPPoE")));
    assert_eq!(of(&["ppp0"], Reason::Mpls), None);
    assert_eq!(of(&[], Reason::Pppoe), None);
}

#[test]
fn names_are_asked_for_where_that_is_wanted_and_named_where_they_have_no_address() {
    let needs =
        || files::mirrors("deb http://localhost/ x\ndeb http://no.such.name.invalid/ x\n", "f").into_iter().collect();
    let mut asked: BTreeSet<Need> = needs();
    assert_eq!(resolve(&mut asked, true), ["no.such.name.invalid".to_owned()].into());
    assert!(!asked.is_empty() && asked.iter().all(|need| matches!(need.peer, Peer::At(at) if at.is_loopback())));
    assert_eq!(asked.first().unwrap().by, "localhost in f");
    let mut unasked: BTreeSet<Need> = needs();
    assert_eq!((resolve(&mut unasked, false).len(), unasked.len()), (2, 0));
}
