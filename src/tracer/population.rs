//! How many tasks there are, and whether there may be one more.
//!
//! Processes and threads count alike, as in the pids controller of control groups, and a process that has ended counts
//! until its parent has waited for it, because until then its id and some memory are gone. A call that would make a
//! task is stopped before it is made; from then until the tracer hears of the child, or of the call's end, the child is
//! counted in advance, so that calls at the same time cannot exceed the limit together.

use std::collections::HashSet;

/// Counts tasks. It does nothing without a limit.
#[derive(Debug)]
pub struct Population {
    limit: Option<usize>,
    /// Tasks whose call may be making a child.
    making: HashSet<i32>,
    /// Tasks that have ended; some may still be waited for by their parents.
    ended: Vec<i32>,
}

impl Population {
    /// With this many tasks at most.
    pub fn new(limit: Option<u32>) -> Self {
        Population { limit: limit.map(|n| n as usize), making: HashSet::new(), ended: Vec::new() }
    }

    /// Whether the task `id` may make a child where `alive` tasks are known; `is_zombie` says whether a task that has
    /// ended is still waited for.
    pub fn admit(&mut self, id: i32, alive: usize, is_zombie: impl Fn(i32) -> bool) -> bool {
        let Some(limit) = self.limit else { return true };
        if alive + self.making.len() + self.ended.len() >= limit {
            self.ended.retain(|&task| is_zombie(task));
        }
        let admitted = alive + self.making.len() + self.ended.len() < limit;
        if admitted {
            self.making.insert(id);
        }
        admitted
    }

    /// The task has stopped again: its child is known, or there is none.
    pub fn settle(&mut self, id: i32) {
        if !self.making.is_empty() {
            self.making.remove(&id);
        }
    }

    /// The task has ended.
    pub fn ended(&mut self, id: i32) {
        self.settle(id);
        if self.limit.is_some() {
            self.ended.push(id);
        }
    }

    /// The limit, for messages.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_under_way_count() {
        let mut population = Population::new(Some(4));
        let admit = |population: &mut Population, id, alive| population.admit(id, alive, |_| false);
        assert!(admit(&mut population, 1, 2));
        assert!(admit(&mut population, 2, 2));
        assert!(!admit(&mut population, 3, 2), "two and two under way");
        population.settle(1);
        assert!(admit(&mut population, 1, 2), "the call of 1 has failed");
        population.settle(2);
        assert!(!admit(&mut population, 2, 3), "the child of 2 is there");
    }

    #[test]
    fn what_nobody_has_waited_for_counts() {
        let mut population = Population::new(Some(3));
        for task in [10, 11, 12, 13] {
            population.ended(task);
        }
        assert!(population.admit(1, 1, |task| task == 12), "one alive, one waited for");
        population.settle(1);
        assert!(!population.admit(1, 2, |task| task == 12));
        assert!(population.admit(1, 2, |_| false));
    }

    #[test]
    fn a_caller_that_dies_makes_room() {
        let mut population = Population::new(Some(2));
        assert!(population.admit(1, 1, |_| false));
        assert!(!population.admit(2, 1, |_| false));
        population.ended(1);
        assert!(population.admit(2, 1, |_| false));
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut population = Population::new(None);
        for task in 0..10 {
            assert!(population.admit(task, 1_000_000, |_| true));
            population.ended(task);
        }
        assert!(population.making.is_empty() && population.ended.is_empty());
    }
}
