//! Goals, and what is said of a figure that has one.

use crate::spread::{Spread, Unit};

/// What a figure is to come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    const fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    const fn limit(self) -> f64 {
        let (Self::AtMost(limit) | Self::AtLeast(limit)) = self;
        limit
    }

    /// The quartile on the goal's side.
    const fn quartile(self, spread: &Spread) -> f64 {
        match self {
            Self::AtMost(_) => spread.lower,
            Self::AtLeast(_) => spread.upper,
        }
    }

    fn show(self, unit: Unit) -> String {
        let sign = match self {
            Self::AtMost(_) => '≤',
            Self::AtLeast(_) => '≥',
        };
        format!("{sign} {}", number(self.limit(), unit))
    }
}

/// Goals are round numbers.
fn number(limit: f64, unit: Unit) -> String {
    if unit == Unit::Times { format!("{limit}×") } else { format!("{limit} {}", unit.name()) }
}

/// A goal with what may be beside it.
#[derive(Clone, Copy, Debug)]
pub struct Goals {
    goal: Goal,
    /// Further than the goal: told, and not judged.
    stretch: Option<f64>,
    /// The goal in the row's other set of goals.
    or: Option<Goal>,
}

impl From<Goal> for Goals {
    fn from(goal: Goal) -> Self {
        Self { goal, stretch: None, or: None }
    }
}

impl Goals {
    /// What would be better still.
    pub fn stretch(self, limit: f64) -> Self {
        Self { stretch: Some(limit), ..self }
    }

    /// The row meets its goals with this one, too, if it meets the other set in whole.
    pub fn or(self, goal: Goal) -> Self {
        Self { or: Some(goal), ..self }
    }

    /// For people.
    pub fn show(self, unit: Unit) -> String {
        let mut text = self.goal.show(unit);
        if let Some(limit) = self.stretch {
            text += &format!(" (stretch {})", number(limit, unit));
        }
        if let Some(other) = self.or {
            text += &format!(" or {}", other.show(unit));
        }
        text
    }
}

/// Where in its rounds a figure is held against its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Median,
    /// The one on the goal's side: what the machine can do while its clock is not in a slow phase.
    Quartile,
}

/// Whether figures meet all of their goals, or all of the other set; `None` where none has a goal.
pub fn met<'a>(mut figures: impl Iterator<Item = (&'a Spread, Goals)> + Clone, by: By) -> Option<bool> {
    let reaches =
        |spread: &Spread, goal: Goal| goal.met(if by == By::Median { spread.median } else { goal.quartile(spread) });
    figures.clone().next()?;
    let first = figures.clone().all(|(spread, goals)| reaches(spread, goals.goal));
    // Without another set this is the first once more.
    Some(first || figures.all(|(spread, goals)| reaches(spread, goals.or.unwrap_or(goals.goal))))
}

#[cfg(test)]
mod tests {
    use super::{By, Goal, Goals, met};
    use crate::spread::{Spread, Unit};

    fn judge(figures: &[(Spread, Goals)], by: By) -> Option<bool> {
        met(figures.iter().map(|(spread, goals)| (spread, *goals)), by)
    }

    #[test]
    fn all_goals_have_to_be_met_by_the_median() {
        let most = |median| (Spread::of(&[1.0, median, 99.0]), Goals::from(Goal::AtMost(12.0)));
        let least = (Spread::of(&[2.0]), Goals::from(Goal::AtLeast(2.0)));
        assert_eq!(judge(&[most(12.0), least], By::Median), Some(true));
        assert_eq!(judge(&[most(12.5), least], By::Median), Some(false));
        assert_eq!(judge(&[], By::Median), None);
    }

    #[test]
    fn the_quartile_is_the_one_on_the_goals_side() {
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        for (goal, at_quartile) in [
            (Goal::AtMost(2.0), true),
            (Goal::AtMost(1.9), false),
            (Goal::AtLeast(4.0), true),
            (Goal::AtLeast(4.1), false),
        ] {
            assert_eq!(judge(&[(spread, goal.into())], By::Median), Some(false), "{goal:?}");
            assert_eq!(judge(&[(spread, goal.into())], By::Quartile), Some(at_quartile), "{goal:?}");
        }
    }

    #[test]
    fn one_of_two_sets_of_goals_is_enough_and_half_of_each_is_not() {
        let row = |random, few| {
            let random = (Spread::of(&[random]), Goals::from(Goal::AtMost(280.0)).or(Goal::AtMost(340.0)));
            let few = (Spread::of(&[few]), Goals::from(Goal::AtMost(85.0)).or(Goal::AtMost(30.0)));
            judge(&[random, few], By::Median)
        };
        assert_eq!(row(280.0, 85.0), Some(true));
        assert_eq!(row(340.0, 30.0), Some(true));
        assert_eq!(row(340.0, 85.0), Some(false));
    }

    #[test]
    fn what_is_beside_a_goal_is_shown() {
        let goals = Goals::from(Goal::AtMost(50.0)).stretch(40.0);
        assert_eq!(goals.show(Unit::Nanoseconds), "≤ 50 ns (stretch 40 ns)");
        let goals = Goals::from(Goal::AtLeast(0.97)).or(Goal::AtLeast(1.0));
        assert_eq!(goals.show(Unit::Times), "≥ 0.97× or ≥ 1×");
    }
}
