//! The zone in, what it makes of a place out: class, country, whether its traffic is denied. Asked by the compiler for each
//! interval, and by `explain` for one address.

use monitor_common::{
    parse::Reason,
    wire::{Class, ClassRow, Embedded, Opaque},
};

use crate::{
    geo::{Country, special::Special},
    spec::{Action, Site, Zone},
};

/// The zone, prepared: a compilation asks it half a million times.
pub(crate) struct ZoneEvaluator<'a> {
    zone: &'a Zone,
    /// By the country's two letters as a number.
    inside: Vec<bool>,
}

impl<'a> ZoneEvaluator<'a> {
    pub(crate) fn new(zone: &'a Zone) -> Self {
        let mut inside = vec![false; 1 << 16];
        for country in &zone.inside {
            inside[usize::from(u16::from_be_bytes(country.0))] = true;
        }
        Self { zone, inside }
    }

    /// Whether a country is in the region.
    pub(crate) fn inside(&self, country: [u8; 2]) -> bool {
        self.inside[usize::from(u16::from_be_bytes(country))]
    }

    /// What several sources come to.
    fn place(&self, countries: &[Option<[u8; 2]>]) -> (Class, Country) {
        let known = |country: &Option<[u8; 2]>| country.filter(|code| *code != Country::UNKNOWN.0);
        let (mut inside, mut outside, mut silent) = (false, false, false);
        for country in countries {
            match known(country) {
                None => silent = true,
                Some(code) if self.inside(code) => inside = true,
                Some(_) => outside = true,
            }
        }
        let class = match (inside, outside, silent) {
            (false, false, _) => Class::Unknown,
            (true, false, false) => Class::Inside,
            (false, true, _) => Class::Outside,
            (true, true, _) | (true, false, true) => Class::Ambiguous,
        };
        (class, countries.iter().find_map(known).map_or(Country::UNKNOWN, Country))
    }

    /// What several overlays come to; `None` where none says anything.
    pub(crate) fn overlaid(&self, says: &[Option<[u8; 2]>]) -> Option<(Class, Country)> {
        let (mut inside, mut outside) = (false, false);
        for code in says.iter().flatten() {
            if *code == Country::UNDETERMINED.0 {
                return Some((Class::Unknown, Country::UNKNOWN));
            }
            *(if self.inside(*code) { &mut inside } else { &mut outside }) = true;
        }
        let class = match (inside, outside) {
            (true, true) => Class::Ambiguous,
            (true, false) => Class::Inside,
            (false, true) => Class::Outside,
            (false, false) => return None,
        };
        Some((class, says.iter().flatten().next().copied().map_or(Country::UNKNOWN, Country)))
    }

    /// The class row, still without rules.
    pub(crate) fn row(
        &self,
        countries: &[Option<[u8; 2]>],
        overlaid: Option<(Class, Country)>,
        special: Option<&Special>,
        site: Option<&Site>,
        nat64: Option<Embedded>,
    ) -> ClassRow {
        let (class, country, embedded) = match (special, nat64, site) {
            (Some(special), ..) if special.class.stays() => (special.class, Country::NONE, Embedded::None),
            (_, Some(form), _) => (Class::Unknown, Country::NONE, form),
            (_, None, Some(site)) => {
                let class = if self.inside(site.country.0) { Class::Inside } else { Class::Outside };
                (class, site.country, Embedded::None)
            }
            (Some(special), None, None) => {
                let private_inside = special.class == Class::Private && self.zone.inside_private;
                let class = if private_inside { Class::Inside } else { special.class };
                (class, Country::NONE, special.embedded)
            }
            (None, None, None) => {
                let (class, country) = overlaid.unwrap_or_else(|| self.place(countries));
                (class, country, Embedded::None)
            }
        };
        let deny = self.denied(class, special);
        let alert = deny || matches!(class, Class::Outside | Class::Ambiguous | Class::Unknown);
        ClassRow {
            country: country.0,
            class: class as u8,
            deny: u8::from(deny),
            alert: u8::from(alert),
            embedded: embedded as u8,
            ..ClassRow::default()
        }
    }

    fn denied(&self, class: Class, special: Option<&Special>) -> bool {
        let action = match class {
            Class::LinkLocal if special.is_some_and(|special| special.network.is_ipv4()) => self.zone.on_link_local,
            Class::Inside | Class::Local | Class::LinkLocal => Action::Allow,
            Class::Outside => self.zone.on_outside,
            Class::Ambiguous => self.zone.on_ambiguous,
            Class::Unknown => self.zone.on_unknown,
            Class::Private => self.zone.on_private,
        };
        action == Action::Deny
    }
}

/// One bit for each mark whose flows are denied.
pub(crate) fn opaque_denied(zone: &Zone) -> u32 {
    let denied = Opaque::MARKS.into_iter().filter(|(mark, _)| zone.on_mark(*mark) == Action::Deny);
    denied.fold(0, |bits, (mark, _)| bits | mark.bit())
}

/// One bit for each reason whose packets are dropped in enforce mode.
pub(crate) fn drop_reasons(zone: &Zone) -> u64 {
    let denied = Reason::ALL.into_iter().filter(|reason| zone.on_reason(*reason) == Action::Deny);
    denied.fold(0, |bits, reason| bits | reason.bit())
}
