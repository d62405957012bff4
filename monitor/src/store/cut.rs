//! Which of many stay, where only so many may: those of most worth. Flows, their sums and memory of them are all cut
//! so.

/// Decides of each in turn. Those of least worth go; of equals at the edge the first ones, just as many as must.
#[derive(Debug)]
pub struct Cut {
    worth: i64,
    /// How many of just this worth go: a burst ends in one jiffy, and must not all go.
    at: usize,
}

impl Cut {
    /// The cut through things of such `worths` that leaves `keep` of them.
    pub fn of(mut worths: Vec<i64>, keep: usize) -> Self {
        let Some(last) = worths.len().checked_sub(keep + 1) else { return Self { worth: i64::MIN, at: 0 } };
        let (less, &mut worth, _) = worths.select_nth_unstable(last);
        let below = less.iter().filter(|less| **less < worth).count();
        Self { worth, at: last + 1 - below }
    }

    /// Whether one of this worth stays. To be asked once for each.
    pub fn keeps(&mut self, worth: i64) -> bool {
        let goes = worth < self.worth || (worth == self.worth && self.at > 0);
        self.at -= usize::from(goes && worth == self.worth);
        !goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn just_so_many_stay_and_none_that_goes_is_worth_more() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let all: Vec<i64> = (0..random.usize(0..40)).map(|_| random.i64(-3..4)).collect();
            let keep = random.usize(0..45);
            let mut cut = Cut::of(all.clone(), keep);
            let (stay, go): (Vec<i64>, Vec<i64>) = all.iter().partition(|worth| cut.keeps(**worth));
            assert_eq!(stay.len(), keep.min(all.len()));
            assert!(go.iter().max() <= stay.iter().min() || stay.is_empty(), "{all:?} {keep}");
        }
    }
}
