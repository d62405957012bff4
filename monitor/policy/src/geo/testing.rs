//! What the tests of this module share.

use super::country::Country;

/// A seed: from `SEED` to repeat a run, else new; printed so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

/// One of a few countries, or unknown.
pub fn random_country(random: &mut fastrand::Rng) -> Country {
    Country(*[b"DE", b"NO", b"SG", b"US", b"ZZ"][random.usize(0..5)])
}
