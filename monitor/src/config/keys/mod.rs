//! Every configuration key, declared once: name, type, default, one line of help, an example. A file for what belongs together
//! in the configuration; whoever looks for a key looks here.
//!
//! `super::document` hands out a value only for a [`Key`] and refuses every key that its [`Section`] does not
//! declare. The example file and `docs/configuration.md` are made from the same declarations (`tests::declared`).

mod daemon;
mod key;
mod places;
mod receivers;
mod rules;

pub use self::{daemon::*, key::*, places::*, receivers::*, rules::*};

/// The configuration file.
pub static FILE: Section = Section::new(
    "",
    "the file",
    "Every key may be left out, unless it says that it is required. File names are taken from the directory of this file \
     on, unless they begin with '/'.",
    &[
        Key::table(&MONITOR),
        Key::table(&ZONE),
        Key::table(&GEO),
        Key::table(&SITE),
        Key::table(&ALLOW),
        Key::table(&DENY),
        Key::table(&MANAGEMENT),
        Key::table(&HTTP),
        Key::table(&ALERTS),
        Key::table(&ATTRIBUTION),
        Key::table(&PATHS),
        Key::table(&POLICY),
    ],
);

/// An allowlist: a file that `[policy] allowlists` names.
pub static ALLOWLIST: Section = Section::new("", "the file", "Rules only.", &[Key::table(&ALLOW), Key::table(&DENY)]);
