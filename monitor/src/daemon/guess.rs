//! What a start needed, noted in `[paths] state` for the next one to begin with. A hint: without it, or where it is wrong,
//! that one takes longer.

use serde::{Deserialize, Serialize};

use crate::{kernel::Guess, storage::state::StateDirectory};

/// The file's name.
pub const FILE: &str = "room.json";
/// What such a file says it is.
const FORMAT: &str = "egress-monitor room 1";

#[derive(Serialize, Deserialize)]
struct Note {
    format: String,
    guess: Guess,
}

/// What the last one needed; a file that is not there, or is none of ours, says nothing.
pub fn read(state: &StateDirectory) -> Option<Guess> {
    state.read(FILE).filter(|note: &Note| note.format == FORMAT).map(|note| note.guess)
}

/// Notes what this one needed.
pub fn keep(state: &StateDirectory, guess: Guess) {
    if read(state).as_ref() == Some(&guess) {
        return;
    }
    if let Err(error) = state.write_for_this_boot(FILE, &Note { format: FORMAT.into(), guess }) {
        tracing::info!(%error, "the next start will take somewhat longer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Options;

    #[test]
    fn what_is_noted_is_read_and_nothing_of_a_file_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path());
        assert_eq!(read(&state), None);
        let guess = |interfaces| Guess::of(&Options { interfaces, ..Options::default() }, &Default::default());
        keep(&state, guess(1));
        keep(&state, guess(100));
        assert_eq!(read(&state), Some(guess(100)));
        for none in ["", "{}", "{\"format\":\"egress-monitor room 2\"}"] {
            std::fs::write(folder.path().join(FILE), none).unwrap();
            assert_eq!(read(&state), None);
        }
    }
}
