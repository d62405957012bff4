//! The number of all layouts in this folder: whoever meets maps that another build has made knows by it whether it can read
//! them.

/// Number of these layouts. Any change of what `layout/N.txt` says takes the next number and a file of its own.
pub const LAYOUT: u32 = 2;

#[cfg(all(test, feature = "user"))]
mod tests {
    use core::mem::{offset_of, size_of};
    use std::fmt::Write as _;

    use super::*;
    use crate::wire::*;

    /// Writes down where each field of a struct is.
    macro_rules! lay_out {
        ($text:ident, $($name:ident { $($field:ident),* })*) => {$(
            let _ = write!($text, "{} {}:", stringify!($name), size_of::<$name>());
            $(let _ = write!($text, " {} {}", stringify!($field), offset_of!($name, $field));)*
            $text.push('\n');
            // No field is left out.
            #[expect(clippy::unneeded_field_pattern, reason = "each is named, so that a new one is missed")]
            let _ = |value: $name| { let $name { $($field: _),* } = value; };
        )*};
    }

    #[test]
    fn every_layout_has_its_number() {
        let mut text = String::new();
        lay_out!(text,
            Hot { control, deadline, fallback, previous, interfaces, ifindexes }
            InterfaceEntry { ifindex, slot, link }
            CpuHalf {
                keys, v4, v6, v4_reserve, v6_reserve, log_base, log_places, logged, crowded, crowded_limit, events,
                _reserved, dropped, hook
            }
            CacheRegion { base, shift }
            CacheEntryV4 { endpoints, addresses, packets, bytes, more_segments, more_wire_bytes, last, first, decision }
            CacheEntryV6 { endpoints, addresses, packets, bytes, last, verdict }
            CacheRestV6 { more_segments, more_wire_bytes, first, _reserved, decision }
            CacheSetV4 { ways }
            CacheSetV6 { ways }
            CacheRestsV6 { sets }
            Decision { class_id, rule, verdict, _reserved }
            PlainKey { addresses, endpoints, ip_version }
            FlowRecord { key, decision, counters, first, last }
            Address { high, low }
            FlowKey {
                source, destination, ifindex, source_port, destination_port, protocol, ip_version, verdict, flags,
                class_id, rule
            }
            InnerDestination { address, port, protocol, ip_version, via, flags, _reserved }
            FullKey { flow, inner }
            FlowValue { counters, first, last }
            Counters { packets, segments, bytes, wire_bytes }
            HookTotal { packets, bytes, more_segments, more_wire_bytes }
            ReasonSums { passed, dropped }
            Clock { jiffies, boot_ns }
            PolicyMeta { v4_base, v6_base, v6_low_base, rules_base, drop_reasons, local_class, opaque_denied }
            ClassRow { rules_start, rules_len, country, class, deny, alert, embedded, _reserved }
            RuleRow { not_before_ns, expires_ns, port_low, port_high, rule, protocol, action }
            Node { words }
            V6Low { start, class_id, more }
        );
        let _ = writeln!(
            text,
            "interfaces {MAX_INTERFACES}, in a table of {INTERFACE_TABLE} with {INTERFACE_PROBES} probes"
        );
        let _ =
            writeln!(text, "classes {MAX_CLASSES}, cache ways {CACHE_WAYS}, reasons {}", crate::parse::Reason::COUNT);
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/wire/layout/{LAYOUT}.txt"));
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(known == text, "{} says otherwise: a change takes the next number\n{text}", file.display());
    }

    /// Whoever takes over what a build with the layouts before has left reads all but these as it reads its own.
    #[test]
    fn the_layouts_before_are_as_they_were_and_differ_in_what_v1_has() {
        use crate::wire::v1::{CpuHalf, Hot, INTERFACE_TABLE, MAX_INTERFACES};
        let mut text = String::new();
        lay_out!(text,
            Hot { control, deadline, fallback, previous, interfaces, ifindexes }
            CpuHalf {
                keys, v4, v6, v4_reserve, v6_reserve, log_base, log_places, logged, crowded, crowded_limit, events,
                _reserved, dropped, hook
            }
        );
        let _ = writeln!(
            text,
            "interfaces {MAX_INTERFACES}, in a table of {INTERFACE_TABLE} with {INTERFACE_PROBES} probes"
        );
        let (before, now) = (include_str!("layout/1.txt"), include_str!("layout/2.txt"));
        let differ: Vec<&str> = before.lines().filter(|line| !now.lines().any(|same| same == *line)).collect();
        assert_eq!(differ, text.lines().collect::<Vec<_>>());
    }
}
