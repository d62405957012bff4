//! A file in, its text in one of the forms that mean the same out.

use std::net::IpAddr;

use super::{
    Choose, File, Kind, Line,
    form::{Text, cased, joined, object, quoted, text},
    one_of, shuffled,
};

impl File {
    fn network(&self, line: &Line) -> String {
        let bits = if self.v6 { 128 } else { 32 };
        let prefix = bits - (line.last - line.first + 1).trailing_zeros();
        format!("{}/{prefix}", self.address(line.first + line.surplus))
    }

    fn is_network(line: &Line) -> bool {
        let size = line.last - line.first + 1;
        size.is_power_of_two() && line.first.is_multiple_of(size)
    }

    fn decimal(&self, at: u32) -> String {
        match self.address(at) {
            IpAddr::V4(address) => address.to_bits().to_string(),
            IpAddr::V6(address) => address.to_bits().to_string(),
        }
    }

    /// The range of a line as one value or two, in one of the ways that there are.
    fn range(&self, line: &Line, choose: Choose<'_>) -> Vec<String> {
        let [first, last] = [line.first, line.last].map(|at| self.address(at).to_string());
        match choose(4) {
            0 if Self::is_network(line) => vec![self.network(line)],
            1 => vec![self.decimal(line.first), self.decimal(line.last)],
            2 => vec![format!("{first}-{last}")],
            _ => vec![first, last],
        }
    }

    /// The file, in one of the forms that mean the same.
    pub fn written(&self, choose: Choose<'_>) -> String {
        let lines = shuffled(self.lines.iter().collect::<Vec<&Line>>(), choose);
        match self.kind {
            Kind::Aws | Kind::Google | Kind::Azure | Kind::Oracle | Kind::Subnets => self.document(&lines, choose),
            Kind::Named => {
                // All columns are there in each line, in an order that the first line says.
                let order = shuffled(vec![0, 1, 2, 3], choose);
                let names = [
                    one_of(choose, &["start_ip", "range_start", "FIRST"]),
                    one_of(choose, &["end_ip", "range_end", "Last"]),
                    one_of(choose, &["country_code", "Country-Code", "alpha2code", "cc"]),
                    "city",
                ];
                let mut rows = vec![order.iter().map(|at| names[*at].to_owned()).collect::<Vec<_>>()];
                rows.extend(lines.iter().map(|line| {
                    let [first, last] = [line.first, line.last].map(|at| self.address(at).to_string());
                    let values = [first, last, cased(line.value, choose), "Berlin".into()];
                    order.iter().map(|at| values[*at].clone()).collect()
                }));
                text(&rows, Text { header: true, ..Text::default() }, choose)
            }
            Kind::Feed | Kind::Ranges | Kind::List | Kind::Systems => {
                let rows: Vec<Vec<String>> = lines.iter().map(|line| self.row(line, choose)).collect();
                // Names of AS numbers may have a '#' in them.
                text(&rows, Text { remarks: self.kind != Kind::Systems, ..Text::default() }, choose)
            }
            Kind::Delegated => {
                let mut rows = vec![
                    "2|ripencc|20260601|9|19830101|20260601|+0200".to_owned(),
                    "ripencc|*|ipv4|*|9|summary".into(),
                    "ripencc|DE|asn|64500|1|20260101|allocated".into(),
                    "ripencc||ipv4|5.0.0.0|4096||available".into(),
                ];
                rows.truncate(choose(5) as usize);
                rows.extend(lines.iter().map(|line| {
                    let status = one_of(choose, &["allocated", "assigned"]);
                    let (kind, size) = if self.v6 {
                        (
                            "ipv6",
                            self.network(line).split_once('/').map_or_else(String::new, |(_, prefix)| prefix.into()),
                        )
                    } else {
                        ("ipv4", (line.last - line.first + 1).to_string())
                    };
                    let blank = one_of(choose, &["", " "]);
                    let more = one_of(choose, &["", "|x|e-stats"]);
                    format!(
                        "ripencc|{blank}{}|{kind}|{}{blank}|{size}|20260101|{status}{more}",
                        cased(line.value, choose),
                        self.address(line.first)
                    )
                }));
                joined(&rows, Text::default(), choose)
            }
            Kind::JsonLines => {
                let names = (
                    one_of(choose, &["network", "cidr", "ip_prefix"]),
                    one_of(choose, &["country", "country_code", "cc"]),
                );
                let rows: Vec<String> = lines
                    .iter()
                    .map(|line| {
                        let values = vec![
                            (names.0, self.network(line)),
                            (names.1, cased(line.value, choose)),
                            ("city", "Berlin".into()),
                        ];
                        object(&values, choose)
                    })
                    .collect();
                joined(&rows, Text { remarks: false, blanks: false, header: true }, choose)
            }
            Kind::Ipset => {
                let mut rows = vec!["create geo_de hash:net family inet hashsize 1024 maxelem 65536".to_owned()];
                rows.truncate(choose(2) as usize);
                rows.extend(lines.iter().map(|line| format!("add {} {}", line.value, self.network(line))));
                joined(&rows, Text::default(), choose)
            }
        }
    }

    /// The values of a line.
    fn row(&self, line: &Line, choose: Choose<'_>) -> Vec<String> {
        match self.kind {
            Kind::Ranges => {
                let mut row = self.range(line, choose);
                row.push(cased(line.value, choose));
                row
            }
            Kind::Systems => {
                let mut row = self.range(line, choose);
                let prefix = if line.value.starts_with(|digit: char| digit.is_ascii_digit()) {
                    one_of(choose, &["", "AS", "as"])
                } else {
                    ""
                };
                row.push(format!("{prefix}{}", line.value));
                row.push(format!("Name of {}, Inc.", line.value));
                row
            }
            Kind::List => vec![self.network(line)],
            _ => vec![
                self.network(line),
                cased(line.value, choose),
                String::new(),
                one_of(choose, &["", "Berlin", "A, B"]).into(),
            ],
        }
    }

    /// A provider's list.
    fn document(&self, lines: &[&Line], choose: Choose<'_>) -> String {
        let network = |line: &&Line| self.network(line);
        let value = |line: &&Line| line.value.to_owned();
        let (list, date) = match self.kind {
            Kind::Aws => {
                let key = if self.v6 { "ipv6_prefix" } else { "ip_prefix" };
                let list = lines.iter().map(|line| {
                    object(&[(key, network(line)), ("region", value(line)), ("service", "EC2".into())], choose)
                });
                (list.collect::<Vec<_>>(), ("createDate", "2026-06-01-00-00-00"))
            }
            Kind::Google => {
                let key = if self.v6 { "ipv6Prefix" } else { "ipv4Prefix" };
                let list = lines.iter().map(|line| {
                    object(&[(key, network(line)), ("scope", value(line)), ("service", "x".into())], choose)
                });
                (list.collect(), ("creationTime", "2026-06-01T00:00:00"))
            }
            Kind::Subnets => {
                let key = one_of(choose, &["ip_prefix", "network", "cidr"]);
                let list = lines.iter().map(|line| {
                    object(
                        &[(key, network(line)), ("alpha2code", cased(line.value, choose)), ("city", "x".into())],
                        choose,
                    )
                });
                (list.collect(), ("updated", "2026-06-01T00:00:00Z"))
            }
            Kind::Azure => {
                let list = lines.iter().map(|line| {
                    let region = quoted(&cased(line.value, choose), choose);
                    format!(
                        "{{\"name\": \"x\", \"properties\": {{\"region\": {region}, \"addressPrefixes\": [{}]}}}}",
                        quoted(&network(line), choose)
                    )
                });
                (list.collect(), ("cloud", "Public"))
            }
            _ => {
                let list = lines.iter().map(|line| {
                    let cidr = object(&[("cidr", network(line)), ("tags", "OCI".into())], choose);
                    format!("{{\"region\": {}, \"cidrs\": [{cidr}]}}", quoted(line.value, choose))
                });
                (list.collect(), ("last_updated_timestamp", "2026-06-01T00:00:00"))
            }
        };
        let space = one_of(choose, &["", " ", "\n", "\r\n\t"]);
        let name = match self.kind {
            Kind::Aws if self.v6 => "ipv6_prefixes",
            Kind::Aws | Kind::Google => "prefixes",
            Kind::Subnets => "subnets",
            Kind::Azure => "values",
            _ => "regions",
        };
        let list = format!("\"{name}\":{space}[{}]", list.join(&format!(",{space}")));
        let mut parts =
            vec![list, format!("\"{}\": \"{}\"", date.0, date.1), "\"more\": {\"x\": [1, null, {}]}".into()];
        if self.kind == Kind::Aws && self.v6 {
            parts.push("\"prefixes\": []".into());
        }
        let parts = shuffled(parts, choose);
        format!("{}{{{}}}{space}", one_of(choose, &["", "\u{feff}"]), parts.join(&format!(",{space}")))
    }
}
