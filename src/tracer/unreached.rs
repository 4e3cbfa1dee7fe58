//! Addresses to which the application could not get, because they lie outside the sandbox. One that is alone gets a
//! warning of its own; a resolver that goes through the root servers, or whoever looks for peers, gets one for all.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// How many addresses a warning names.
const MOST_NAMED: usize = 3;
/// How many are told apart.
const MOST: usize = 1000;

/// The addresses, each once.
#[derive(Debug, Default)]
pub(super) struct Unreached {
    all: BTreeSet<SocketAddr>,
    /// Those that were tried first.
    first: Vec<SocketAddr>,
}

impl Unreached {
    pub(super) fn add(&mut self, address: SocketAddr) {
        if self.all.len() < MOST && self.all.insert(address) && self.first.len() < MOST_NAMED {
            self.first.push(address);
        }
    }

    /// What to say about them.
    pub(super) fn warning(&self) -> Option<String> {
        let first = self.first.first()?;
        let count = match self.all.len() {
            1 => return Some(format!("connect to {first}: it cannot leave the sandbox")),
            MOST => format!("{MOST} or more"),
            count => count.to_string(),
        };
        let named: Vec<String> = self.first.iter().map(SocketAddr::to_string).collect();
        let more = if self.all.len() > named.len() { ", ..." } else { "" };
        Some(format!("connect to {count} addresses ({}{more}): they cannot leave the sandbox", named.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_are_one_warning() {
        let mut unreached = Unreached::default();
        let mut said = vec![unreached.warning()];
        for host in [1, 1, 2, 3, 4] {
            unreached.add(([203, 0, 113, host], 53).into());
            said.push(unreached.warning());
        }
        said.dedup();
        let said: Vec<String> = said.into_iter().map(Option::unwrap_or_default).collect();
        assert_eq!(
            said,
            [
                "",
                "connect to 203.0.113.1:53: it cannot leave the sandbox",
                "connect to 2 addresses (203.0.113.1:53, 203.0.113.2:53): they cannot leave the sandbox",
                "connect to 3 addresses (203.0.113.1:53, 203.0.113.2:53, 203.0.113.3:53): they cannot leave the sandbox",
                "connect to 4 addresses (203.0.113.1:53, 203.0.113.2:53, 203.0.113.3:53, ...): they cannot leave the sandbox",
            ]
        );
    }
}
