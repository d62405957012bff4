//! What several promises share: the kernel part in the test's own process, on a wire or without one, and random
//! packets. What also the demonstration and the benchmark need is in the library of this package.

pub mod attached;
pub mod both;
pub mod cards;
pub mod lives;
pub mod load;
pub mod machine;
pub mod mutate;
pub mod policy;
pub mod sandbox;
pub mod terminal;
pub mod watched;
pub mod ways;

/// By `SEED`, or by a new seed, which is printed.
pub fn random() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
