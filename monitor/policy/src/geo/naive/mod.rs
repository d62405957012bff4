//! Choices in; files of every kind that people write by lines, each in one of the many forms that mean the same, and what
//! each address in them is by a reading of its own, out. For property tests, whose choices are random, and for fuzzing, whose
//! choices are the input: so the readers are held against the same few lines everywhere ([`check`]). The reading here shares
//! no code with them.

mod check;
mod form;
mod written;

pub use self::{
    check::check,
    form::{Text, text},
};

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A number below the one that is given, which is not 0.
pub type Choose<'a> = &'a mut dyn FnMut(u32) -> u32;

/// All addresses of a file are in a space of this size.
pub const SPACE: u32 = 1 << 12;

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `network,country,region,city`.
    Feed,
    /// `first,last,country`.
    Ranges,
    /// The same with names over the columns.
    Named,
    /// Networks of one country.
    List,
    /// The registries' statistics.
    Delegated,
    /// An object a line.
    JsonLines,
    /// `ipset save`.
    Ipset,
    /// `first,last,AS number,name`.
    Systems,
    /// Amazon's list.
    Aws,
    /// Google's list.
    Google,
    /// Microsoft's list.
    Azure,
    /// Oracle's list.
    Oracle,
    /// A feed as one document, as Vultr has it.
    Subnets,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Feed,
        Self::Ranges,
        Self::Named,
        Self::List,
        Self::Delegated,
        Self::JsonLines,
        Self::Ipset,
        Self::Systems,
        Self::Aws,
        Self::Google,
        Self::Azure,
        Self::Oracle,
        Self::Subnets,
    ];

    /// The name of such a file.
    pub const fn file(self) -> &'static str {
        match self {
            Self::List => "de.zone",
            Self::JsonLines | Self::Aws | Self::Google | Self::Oracle | Self::Subnets => "t.json",
            Self::Azure => "ServiceTags_Public_20260601.json",
            Self::Feed | Self::Ranges | Self::Named | Self::Delegated | Self::Ipset | Self::Systems => "t.csv",
        }
    }

    /// Whether it is one document, which only overlays are.
    pub const fn is_document(self) -> bool {
        matches!(self, Self::Aws | Self::Google | Self::Azure | Self::Oracle | Self::Subnets)
    }

    /// Whether its lines have networks alone.
    const fn has_networks(self) -> bool {
        !matches!(self, Self::Ranges | Self::Named | Self::Systems | Self::Delegated)
    }

    /// What lines may have where the country is, and what that means: nothing that is good, nothing known, or this.
    const fn values(self) -> &'static [(&'static str, Means)] {
        use Means::{Bad, Is, Nowhere};
        match self {
            Self::Feed | Self::Ranges | Self::Named | Self::JsonLines | Self::Subnets | Self::Delegated => &[
                ("DE", Is("DE")),
                ("US", Is("US")),
                ("NO", Is("NO")),
                ("SG", Is("SG")),
                ("", Nowhere),
                ("ZZ", Nowhere),
                ("QQ", Bad),
                ("USA", Bad),
            ],
            Self::List => &[("", Is("DE"))],
            Self::Ipset => &[("country_de", Is("DE")), ("country_us", Is("US"))],
            Self::Systems => &[
                ("64500", Is("64500")),
                ("64501", Is("64501")),
                ("4294967295", Is("4294967295")),
                ("0", Nowhere),
                ("", Nowhere),
                ("-", Nowhere),
                ("x", Bad),
                ("4294967296", Bad),
            ],
            Self::Aws => &[
                ("eu-west-1", Is("IE")),
                ("eu-central-1", Is("DE")),
                ("us-east-1", Is("US")),
                ("GLOBAL", Nowhere),
                ("eu-moon-1", Bad),
            ],
            Self::Google => {
                &[("europe-west3", Is("DE")), ("us-central1", Is("US")), ("global", Nowhere), ("europe-moon1", Bad)]
            }
            Self::Azure => &[("germanywc", Is("DE")), ("eastus", Is("US")), ("moon", Bad)],
            Self::Oracle => &[("eu-zurich-1", Is("CH")), ("us-ashburn-1", Is("US")), ("eu-moon-1", Bad)],
        }
    }
}

/// What a value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// A line with it can't be taken.
    Bad,
    /// That nothing is known, or that it is everywhere.
    Nowhere,
    /// A country, or an AS number.
    Is(&'static str),
}

/// What a file says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing.
    Nothing,
    /// That it is in no one place, or of nobody.
    Nowhere,
    /// A country, or an AS number.
    Is(&'static str),
}

/// One line.
#[derive(Clone, Debug)]
struct Line {
    first: u32,
    last: u32,
    /// The bits that the written network has after its prefix.
    surplus: u32,
    value: &'static str,
    means: Means,
}

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its kind.
    pub kind: Kind,
    v6: bool,
    lines: Vec<Line>,
    said: Said,
}

/// What a file says of each address of the space.
#[derive(Clone)]
struct Said(Vec<Says>);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("as its lines say")
    }
}

fn one_of<'a, T: ?Sized>(choose: Choose<'_>, of: &[&'a T]) -> &'a T {
    of[choose(of.len() as u32) as usize]
}

/// With one chance in so many.
fn chance(choose: Choose<'_>, one_in: u32) -> bool {
    choose(one_in) == one_in - 1
}

fn shuffled<T>(mut of: Vec<T>, choose: Choose<'_>) -> Vec<T> {
    for at in (1..of.len()).rev() {
        of.swap(at, choose(at as u32 + 1) as usize);
    }
    of
}

impl File {
    /// A file of this kind with a few lines.
    pub fn chosen(kind: Kind, choose: Choose<'_>) -> Self {
        let v6 = chance(choose, 3);
        let lines = (0..=choose(16)).map(|_| {
            let (value, means) = kind.values()[choose(kind.values().len() as u32) as usize];
            // The registries' IPv6 are networks; so is every third range.
            let network = kind.has_networks() || (kind == Kind::Delegated && v6) || chance(choose, 3);
            let size = 1 << choose(10);
            let at = choose(SPACE);
            let (first, last) = if network {
                (at / size * size, at / size * size + size - 1)
            } else {
                (at, (at + choose(size)).min(SPACE - 1))
            };
            // What has no prefix has no bits after it, and what has all has none.
            let surplus = if kind.has_networks() && chance(choose, 8) { choose(size) } else { 0 };
            Line { first, last, surplus, value, means }
        });
        let lines: Vec<Line> = lines.collect();
        // From one end of a line to the next all is the same.
        let mut said = Vec::with_capacity(SPACE as usize);
        let mut starts: Vec<u32> =
            lines.iter().flat_map(|line| [line.first, line.last + 1]).chain([0, SPACE]).collect();
        starts.sort_unstable();
        for pair in starts.windows(2) {
            said.resize(pair[1] as usize, says(&lines, pair[0]));
        }
        Self { kind, v6, lines, said: Said(said) }
    }

    /// An address of the space by its number.
    pub fn address(&self, at: u32) -> IpAddr {
        if self.v6 {
            Ipv6Addr::from((0x2a00 << 112) + u128::from(at)).into()
        } else {
            Ipv4Addr::from(0x0500_0000 + at).into()
        }
    }

    /// Whether more of its lines are bad than good: then it is refused.
    pub fn is_refused(&self) -> bool {
        let good = self.lines.iter().filter(|line| line.surplus == 0 && line.means != Means::Bad).count();
        self.lines.len() - good > good
            || (self.kind == Kind::Systems && (0..SPACE).all(|at| !matches!(self.says(at), Says::Is(_))))
    }

    /// Whether any line is bad.
    pub fn has_bad_lines(&self) -> bool {
        self.lines.iter().any(|line| line.surplus != 0 || line.means == Means::Bad)
    }

    /// What it says of an address.
    pub fn says(&self, at: u32) -> Says {
        self.said.0[at as usize]
    }
}

/// What lines say of an address: what the narrowest range says that covers it, of equally wide ones the one that starts
/// later. Where that range is there with two values, it says nothing that can be relied on.
fn says(lines: &[Line], at: u32) -> Says {
    let covering = lines.iter().filter(|line| (line.first..=line.last).contains(&at));
    let Some((width, first)) = covering.map(|line| (line.last - line.first, u32::MAX - line.first)).min() else {
        return Says::Nothing;
    };
    let mut found = None;
    for line in lines.iter().filter(|line| (line.last - line.first, u32::MAX - line.first) == (width, first)) {
        let says = match line.means {
            Means::Is(value) if line.surplus == 0 => Says::Is(value),
            _ => Says::Nowhere,
        };
        match found {
            None => found = Some(says),
            Some(other) if other == says => {}
            Some(_) => return Says::Nowhere,
        }
    }
    found.unwrap_or(Says::Nothing)
}
