//! Who each task is, as far as the application knows.
//!
//! A task that the supervisor made is not the application's yet: until its first program it is the sandbox that
//! prepares it, with real ids and real calls.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::rc::Rc;

use super::credentials::Credentials;

/// One task.
#[derive(Debug)]
struct Person {
    credentials: Rc<Credentials>,
    /// It has not executed a program yet.
    starting: bool,
    /// Read when asked for: a task keeps its numbers, except by an exec.
    numbers: Option<Numbers>,
}

/// The ids by which a task is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Its process, in the tracer's PID namespace.
    pub process: i32,
    /// Its process, as it knows itself.
    pub process_inside: i32,
    /// The task, as it knows itself.
    pub task_inside: i32,
    /// Its process group, as it knows it.
    pub group_inside: i32,
    /// Its session, as it knows it.
    pub session_inside: i32,
}

/// All tasks, by their ids in the tracer's PID namespace.
#[derive(Debug, Default)]
pub struct People(HashMap<i32, Person>);

impl People {
    /// The supervisor has made `task`, which will execute its first program with these credentials.
    pub fn spawned(&mut self, task: i32, credentials: Credentials) {
        self.0.insert(task, Person { credentials: Rc::new(credentials), starting: true, numbers: None });
    }

    /// `parent` has made `task`.
    pub fn forked(&mut self, parent: i32, task: i32) {
        if let Some(Person { credentials, starting, .. }) = self.0.get(&parent) {
            let person = Person { credentials: Rc::clone(credentials), starting: *starting, numbers: None };
            self.0.insert(task, person);
        }
    }

    /// The thread `former` has executed a program and has the id `task` now.
    pub fn renamed(&mut self, former: i32, task: i32) {
        if let Some(person) = self.0.remove(&former) {
            self.0.insert(task, person);
        }
    }

    /// `task` executes a program, which makes its numbers anew and it the application's.
    pub fn executed(&mut self, task: i32) -> Option<&mut Credentials> {
        let person = self.0.get_mut(&task)?;
        (person.starting, person.numbers) = (false, None);
        Some(Rc::make_mut(&mut person.credentials))
    }

    /// `task` has ended.
    pub fn ended(&mut self, task: i32) {
        self.0.remove(&task);
    }

    /// Who `task` is; `None` for what is not the application's.
    pub fn get(&self, task: i32) -> Option<Rc<Credentials>> {
        self.0.get(&task).filter(|person| !person.starting).map(|person| Rc::clone(&person.credentials))
    }

    /// As whom `task` executes a program: also the first one.
    pub fn executing(&self, task: i32) -> Option<Rc<Credentials>> {
        self.0.get(&task).map(|person| Rc::clone(&person.credentials))
    }

    /// To change who `task` is.
    pub fn get_mut(&mut self, task: i32) -> Option<&mut Credentials> {
        let person = self.0.get_mut(&task).filter(|person| !person.starting)?;
        Some(Rc::make_mut(&mut person.credentials))
    }

    /// The numbers of `task`.
    pub fn numbers(&mut self, task: i32) -> Option<Numbers> {
        let person = self.0.get_mut(&task)?;
        if person.numbers.is_none() {
            person.numbers = numbers(&fs::read_to_string(format!("/proc/{task}/status")).ok()?);
        }
        person.numbers
    }

    /// The task that knows itself by this number.
    pub fn inside(&mut self, number: i32) -> Option<i32> {
        let tasks: Vec<i32> = self.0.keys().copied().collect();
        tasks.into_iter().find(|&task| self.numbers(task).is_some_and(|numbers| numbers.task_inside == number))
    }

    /// One task of each process, by the number by which the process knows itself: the first thread, if it is there.
    pub fn processes(&mut self) -> BTreeMap<i32, (i32, Numbers)> {
        // Sessions and groups change by calls that nobody stops.
        self.0.values_mut().for_each(|person| person.numbers = None);
        let mut tasks: Vec<i32> = self.0.keys().copied().collect();
        tasks.sort_unstable();
        let mut out = BTreeMap::new();
        for task in tasks {
            if let Some(numbers) = self.numbers(task)
                && (task == numbers.process || !out.contains_key(&numbers.process_inside))
            {
                out.insert(numbers.process_inside, (task, numbers));
            }
        }
        out
    }
}

/// Reads `/proc/PID/status`: each line has the ids in the namespaces from the reader's inwards.
fn numbers(status: &str) -> Option<Numbers> {
    let ids = |field: &str| -> Option<Vec<i32>> {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().map(|id| id.parse().ok()).collect()
    };
    let inside = |field: &str| ids(field)?.last().copied();
    Some(Numbers {
        process: *ids("NStgid:")?.first()?,
        process_inside: inside("NStgid:")?,
        task_inside: inside("NSpid:")?,
        group_inside: inside("NSpgid:")?,
        session_inside: inside("NSsid:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_innermost_namespace() {
        let status = "Name:\tx\nNStgid:\t4711\t7\nNSpid:\t4712\t8\nNSpgid:\t4700\t1\nNSsid:\t4700\t1\n";
        let expected = Numbers { process: 4711, process_inside: 7, task_inside: 8, group_inside: 1, session_inside: 1 };
        assert_eq!(numbers(status), Some(expected));
        assert_eq!(numbers("Name:\tx\n"), None);
    }

    #[test]
    fn children_are_who_their_parent_is_until_they_change() {
        let mut people = People::default();
        people.spawned(10, Credentials::new(0, 0, vec![], 0));
        people.forked(10, 11);
        assert!(people.get(10).is_none() && people.get(11).is_none(), "nobody is the application's yet");
        people.executed(10);
        people.forked(10, 12);
        people.get_mut(12).unwrap().uid.effective = 5;
        let shown = |task| people.get(task).map(|c: Rc<Credentials>| c.uid.effective);
        assert_eq!((shown(10), shown(11), shown(12)), (Some(0), None, Some(5)));
        people.renamed(12, 10);
        assert_eq!(people.get(10).map(|c| c.uid.effective), Some(5));
        assert!(people.get(12).is_none());
    }
}
