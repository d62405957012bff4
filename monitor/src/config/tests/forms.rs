//! What no change of form may change in a configuration: order of tables, keys and values, line ends, byte order mark,
//! comments, case, blanks, quotes. And that no address is inside that no site puts there.

use std::fmt::Write as _;

use monitor_common::{classify::class_id_v4, wire::Class};
use monitor_policy::{ClockMap, Knowledge};

use super::good;

/// From `SEED` to repeat a run, else new.
fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

/// A site or a rule: what heads it, and its keys with their values.
type Table = (&'static str, Vec<(&'static str, Value)>);

#[derive(Clone)]
enum Value {
    /// Text, and whether its case is its own.
    Text(String, bool),
    /// A list whose order says nothing.
    List(Vec<String>),
}

/// Codes are written in upper case; another is refused, with a question.
const COUNTRIES: [(&str, bool); 5] = [("DE", true), ("Norway", true), ("SG", false), ("US", false), ("Ireland", true)];

/// Sites with a /24 of 198.18.0.0/16 each, of which the second number says whether they are inside; and rules.
fn tables(random: &mut fastrand::Rng) -> (Vec<Table>, Vec<(u32, bool)>) {
    let (mut tables, mut sites) = (Vec::new(), Vec::new());
    let own = |text: &str| Value::Text(text.into(), true);
    for number in 0..random.u32(1..9) {
        let (country, inside) = COUNTRIES[random.usize(0..COUNTRIES.len())];
        sites.push((number, inside));
        tables.push((
            "[[site]]",
            vec![
                ("name", own(&format!("site {number}"))),
                ("country", Value::Text(country.into(), country.len() == 2)),
                ("networks", Value::List(vec![format!("198.18.{number}.0/25"), format!("198.18.{number}.128/25")])),
            ],
        ));
    }
    for number in 0..random.u32(0..6) {
        let head = if random.bool() { "[[allow]]" } else { "[[deny]]" };
        let to = (0..random.u32(1..4)).map(|at| format!("198.18.{}.{}", number + 100, 10 * at)).collect();
        let ports = [vec!["TCP/443".to_owned(), "udp/53".into()], vec!["icmp".into()]][random.usize(0..2)].clone();
        let mut keys =
            vec![("id", own(&format!("rule-{number}"))), ("reason", own("a 'test'")), ("to", Value::List(to))];
        keys.extend(random.bool().then_some(("ports", Value::List(ports))));
        tables.push((head, keys));
    }
    tables.push(("[zone]", vec![("name", own("t")), ("inside", own("EEA + Switzerland - LI"))]));
    tables.push(("[management]", vec![("networks", Value::List(vec!["198.51.100.0/24".into()]))]));
    (tables, sites)
}

fn text(text: &str, random: &mut fastrand::Rng) -> String {
    match random.u8(0..4) {
        0 if !text.contains('\'') => format!("'{text}'"),
        1 => format!("\"\"\"{text}\"\"\""),
        2 => format!("\"\\u{:04x}{}\"", text.chars().next().map_or(0, u32::from), &text[1..]),
        _ => format!("\"{text}\""),
    }
}

fn cased(text: &str, random: &mut fastrand::Rng) -> String {
    if random.bool() { text.to_lowercase() } else { text.to_uppercase() }
}

/// The same in one of its forms.
fn written(tables: &[Table], random: &mut fastrand::Rng) -> String {
    let mut tables = tables.to_vec();
    random.shuffle(&mut tables);
    let mut out = String::new();
    let remark = |random: &mut fastrand::Rng| ["", "  # [zone]", "\t#"][random.usize(0..3)];
    for (head, mut keys) in tables {
        out += ["", "\n", "# a comment = 1\n\n"][random.usize(0..3)];
        writeln!(out, "{}{head}{}", ["", "  "][random.usize(0..2)], remark(random)).unwrap();
        random.shuffle(&mut keys);
        for (key, value) in keys {
            let value = match value {
                Value::Text(own, true) => text(&own, random),
                Value::Text(other, false) => {
                    let other = cased(&other, random);
                    text(&other, random)
                }
                Value::List(mut values) => {
                    random.shuffle(&mut values);
                    let values: Vec<String> = values
                        .iter()
                        .map(|value| {
                            let value = cased(value, random);
                            text(&value, random)
                        })
                        .collect();
                    match random.u8(0..3) {
                        0 => format!("[{}]", values.join(",")),
                        1 => format!("[ {}, ]", values.join(" , ")),
                        _ => format!("[\n  {}, # one\n]", values.join(",\n# more\n\n  ")),
                    }
                }
            };
            let key = [key.to_owned(), format!("\"{key}\""), format!("  '{key}'")][random.usize(0..3)].clone();
            writeln!(out, "{key}{}{value}{}", [" = ", "=", "\t=  "][random.usize(0..3)], remark(random)).unwrap();
        }
    }
    if random.bool() {
        out = out.replace('\n', "\r\n");
    }
    format!("{}{out}", if random.bool() { "\u{feff}" } else { "" })
}

#[test]
fn no_form_of_the_same_configuration_changes_the_policy_and_inside_is_what_a_site_puts_there() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..60 {
        let (tables, sites) = tables(&mut random);
        let policies = [(); 2].map(|()| {
            let text = written(&tables, &mut random);
            let config = good(&text);
            (monitor_policy::compile(&config.spec, &Knowledge::default(), &ClockMap::wall(0)).unwrap(), text)
        });
        let [(one, text), (other, again)] = policies;
        assert_eq!(one.digest, other.digest, "SEED={seed} round {round}:\n{text}\n{again}");
        for address in (0xc612_0000..0xc613_0000_u32).step_by(7) {
            let class = class_id_v4(&one.image, address).and_then(|number| one.image.classes.get(number as usize));
            let inside = class.is_some_and(|class| Class::from_wire(class.class) == Class::Inside);
            let expected = sites.iter().any(|(number, inside)| *inside && address >> 8 == 0xc6_1200 + number);
            assert_eq!(inside, expected, "SEED={seed} round {round}: {address:x}\n{text}");
        }
    }
}

#[test]
fn no_form_of_the_same_list_of_networks_changes_the_policy() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..60 {
        let mut networks: Vec<String> = (0..random.u32(1..20))
            .map(|at| {
                [format!("198.18.{at}.0/24"), format!("198.18.{at}.7"), format!("2001:DB8:{at}::/48")]
                    [random.usize(0..3)]
                .clone()
            })
            .collect();
        let digests = [(); 2].map(|()| {
            random.shuffle(&mut networks);
            let end = ["\n", "\r\n"][random.usize(0..2)];
            let mut list = String::from(if random.bool() { "\u{feff}" } else { "" });
            for network in &networks {
                list += &[String::new(), format!("# 192.0.2.0/24{end}"), end.to_owned(), format!(" ; more{end}")]
                    [random.usize(0..4)];
                list += &[network.clone(), format!("  {network}\t"), network.to_lowercase()][random.usize(0..3)];
                list += ["", " # partner", " ; partner"][random.usize(0..3)];
                list += end;
            }
            let text = b"[policy]\nallowlists = [\"l.txt\"]\n[management]\nnetworks = []\n";
            let config = super::load_with(text, &[("l.txt", list.as_bytes())]);
            let config = config.unwrap_or_else(|problems| panic!("SEED={seed} round {round}: {problems:?}\n{list}"));
            monitor_policy::compile(&config.spec, &Knowledge::default(), &ClockMap::wall(0)).unwrap().digest
        });
        assert_eq!(digests[0], digests[1], "SEED={seed} round {round}: {networks:?}");
    }
}
