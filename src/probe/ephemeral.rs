//! Ports that the kernel chose. An application that binds port 0 listens elsewhere in each run, so in another run than
//! the one in which a plan was resolved, such a port is known by the order in which the ports began to listen.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;

use crate::probe::plan::Plan;
use crate::probe::step::Step;
use crate::probe::target::{Port, Protocol, Target};

/// The kernel's default for `net.ipv4.ip_local_port_range`.
const DEFAULT_RANGE: RangeInclusive<u16> = 32768..=60999;

/// From which ports the kernel chooses in the network of the calling thread.
pub(super) fn range() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => DEFAULT_RANGE,
    }
}

/// The ports that listen and that the kernel may have chosen, in the order in which they began to.
pub(super) fn chosen(target: &dyn Target) -> Vec<Port> {
    let range = range();
    let listeners = target.listeners();
    let listens = |port: &Port| listeners.iter().any(|l| l.protocol == port.protocol && l.port == port.number);
    target.appeared().into_iter().filter(|port| range.contains(&port.number) && listens(port)).collect()
}

/// Which of the ports `now` stands for which of those `before`: itself, where it is there again, and the others in
/// their order, each protocol by itself. What has no counterpart yet is left out.
pub(super) fn counterparts(before: &[Port], now: &[Port]) -> BTreeMap<Port, Port> {
    let mut out: BTreeMap<Port, Port> = before.iter().filter(|port| now.contains(port)).map(|&p| (p, p)).collect();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let gone = before.iter().filter(|port| port.protocol == protocol && !now.contains(port));
        let new = now.iter().filter(|port| port.protocol == protocol && !before.contains(port));
        out.extend(gone.copied().zip(new.copied()));
    }
    out
}

/// The step with the port that is in this run what the plan's is in its own.
pub(super) fn relocated(plan: &Plan, step: &Step, target: &dyn Target) -> Step {
    let mut step = step.clone();
    if let Some(port) = step.port().filter(|port| plan.ephemeral.contains(port))
        && let Some(now) = counterparts(&plan.ephemeral, &chosen(target)).get(&port)
    {
        step.set_port(now.number);
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_known_by_number_and_then_by_order() {
        let ports = |numbers: &[u16]| numbers.iter().copied().map(Port::tcp).collect::<Vec<_>>();
        for (before, now, expected) in [
            (&[40001][..], &[50002][..], "40001=50002"),
            (&[40001], &[], ""),
            (&[33060, 41000], &[39000], "33060=39000"),
            (&[33060, 41000], &[39000, 33060], "33060=33060 41000=39000"),
            (&[45000, 41000], &[39000, 59000], "41000=59000 45000=39000"),
        ] {
            let found = counterparts(&ports(before), &ports(now));
            let text: Vec<String> = found.iter().map(|(a, b)| format!("{}={}", a.number, b.number)).collect();
            assert_eq!(text.join(" "), expected, "{before:?} {now:?}");
        }
        let mixed = counterparts(&[Port::udp(40000), Port::tcp(40001)], &[Port::tcp(50001), Port::udp(50000)]);
        assert_eq!(mixed[&Port::udp(40000)], Port::udp(50000));
        assert_eq!(mixed[&Port::tcp(40001)], Port::tcp(50001));
    }

    #[test]
    fn the_range_is_the_kernels() {
        let range = range();
        assert!(range.start() < range.end() && *range.start() > 0, "{range:?}");
    }
}
