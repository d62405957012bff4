//! Files that people write by lines, in each of the forms that mean the same: feeds, ranges, lists of networks, the
//! registries' files, AS numbers, JSON lines, the providers' lists. The first byte says which, the others make the choices
//! from which lines and form come. What every address is by the lines is what the readers have to make of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monitor_policy::geo::naive::{Kind, check};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, mut rest)) = bytes.split_first() else { return };
    // Two bytes a choice where one is too small; nothing more to choose from is 0.
    let mut next = || match rest.split_first() {
        Some((byte, more)) => {
            rest = more;
            u32::from(*byte)
        }
        None => 0,
    };
    let mut choose = |below: u32| (if below > 256 { next() << 8 | next() } else { next() }) % below;
    check(Kind::ALL[usize::from(*kind) % Kind::ALL.len()], &mut choose);
});
