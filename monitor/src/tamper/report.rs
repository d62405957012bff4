//! The consumer that raises a finding for each thing that was tampered with, and resolves it when it is right again.

use std::collections::BTreeMap;

use crate::{
    engine::pipeline::{Consumer, Findings},
    model::{FindingKind, tamper::Tampering},
    store::MonitorState,
};

/// See the module.
#[derive(Debug, Default)]
pub struct TamperFindings {
    /// What was told, and since when it is so.
    told: BTreeMap<(FindingKind, String), i128>,
}

impl TamperFindings {
    fn resolve(&mut self, findings: &mut Findings<'_>, over: impl Fn(&(FindingKind, String), i128) -> bool) {
        self.told.retain(|of, since| {
            let over = over(of, *since);
            if over {
                findings.report_of((of.0, &of.1), None::<String>);
            }
            !over
        });
    }
}

impl Consumer for TamperFindings {
    fn watched(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let open: BTreeMap<(FindingKind, String), &Tampering> =
            state.tamper.open.iter().map(|one| ((one.sighting.kind, one.sighting.subject.clone()), one)).collect();
        // Put right and done again since the look before: another one.
        self.resolve(findings, |of, since| open.get(of).is_none_or(|one| one.since != since));
        for (of, tampering) in open {
            if self.told.insert(of.clone(), tampering.since).is_none() {
                findings.report_of((of.0, &of.1), Some(tampering.text()));
            }
        }
        let contended: BTreeMap<String, String> = state
            .tamper
            .contended
            .iter()
            .map(|(kind, subject)| {
                let of =
                    if subject.is_empty() { kind.name().to_owned() } else { format!("{} on {subject}", kind.name()) };
                let text = format!("{of}: put right {} times in 10 minutes, and left alone since", super::MOST);
                (of, text)
            })
            .collect();
        let kind = FindingKind::Contended;
        let over: Vec<String> =
            findings.subjects(kind).filter(|of| !contended.contains_key(*of)).map(str::to_owned).collect();
        over.iter().for_each(|of| findings.report_of((kind, of), None::<String>));
        contended.into_iter().for_each(|(of, text)| findings.report_of((kind, &of), Some(text)));
    }
}
