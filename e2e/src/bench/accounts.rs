//! What processes cost, from the operating system's own accounts (`/proc`), by role and by the name of the thread.
//!
//! A process's `stat` counts what its ended threads used too; its threads' own files do not, and are used for names and
//! context switches only. A tick is 10 ms of exact run time, so an account over two seconds is good to a few per cent.

use std::collections::BTreeMap;
use std::fs;

use crate::process::{Role, Running};

/// `USER_HZ` is 100 on every Linux that we build for.
const MICROS_PER_TICK: u64 = 10_000;

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Node,
    Router,
    MemDs,
    /// `trivet local` itself, which starts the others and holds the catalog's loops.
    Parent,
    /// Ourselves.
    Client,
}

impl Who {
    pub const SERVERS: [Who; 4] = [Who::Node, Who::Router, Who::MemDs, Who::Parent];

    pub fn name(self) -> &'static str {
        match self {
            Who::Node => "nodes",
            Who::Router => "router",
            Who::MemDs => "memds",
            Who::Parent => "parent",
            Who::Client => "client",
        }
    }
}

/// What was used since the processes began, or between two of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub cpu_us: BTreeMap<Who, u64>,
    pub switches: BTreeMap<Who, u64>,
    pub threads_us: BTreeMap<(Who, String), u64>,
    /// Everything that ran on this machine, whoever it was.
    pub machine_us: u64,
}

/// The processes whose accounts are read.
pub fn processes(running: &Running) -> Vec<(Who, u32)> {
    let children = Role::ALL.into_iter().flat_map(|role| {
        let who = match role {
            Role::Node => Who::Node,
            Role::Router => Who::Router,
            Role::MemDs => Who::MemDs,
        };
        running.children(role).into_iter().map(move |pid| (who, pid))
    });
    let parent = running.id().map(|pid| (Who::Parent, pid));
    children.chain(parent).chain([(Who::Client, std::process::id())]).collect()
}

impl Accounts {
    pub fn read(processes: &[(Who, u32)]) -> Accounts {
        let mut accounts = Accounts::default();
        for (who, pid) in processes {
            let process = text(&format!("/proc/{pid}/stat"));
            *accounts.cpu_us.entry(*who).or_default() += parse_stat(&process).map_or(0, |(_, cpu_us)| cpu_us);
            for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let folder = thread.path().display().to_string();
                let switches = parse_switches(&text(&format!("{folder}/status")));
                *accounts.switches.entry(*who).or_default() += switches;
                if let Some((name, cpu_us)) = parse_stat(&text(&format!("{folder}/stat"))) {
                    *accounts.threads_us.entry((*who, family(name))).or_default() += cpu_us;
                }
            }
        }
        accounts.machine_us = parse_machine(&text("/proc/stat"));
        accounts
    }

    /// What was used from `earlier` to now.
    pub fn since(&self, earlier: &Accounts) -> Accounts {
        Accounts {
            cpu_us: difference(&self.cpu_us, &earlier.cpu_us),
            switches: difference(&self.switches, &earlier.switches),
            threads_us: difference(&self.threads_us, &earlier.threads_us),
            machine_us: self.machine_us.saturating_sub(earlier.machine_us),
        }
    }

    pub fn servers_us(&self) -> u64 {
        Who::SERVERS.iter().map(|who| self.cpu_us.get(who).copied().unwrap_or(0)).sum()
    }

    pub fn server_switches(&self) -> u64 {
        Who::SERVERS.iter().map(|who| self.switches.get(who).copied().unwrap_or(0)).sum()
    }
}

/// Resident memory by role, in KiB, with the number of its processes.
pub fn resident_kib(processes: &[(Who, u32)]) -> BTreeMap<Who, (u32, u64)> {
    let mut found: BTreeMap<Who, (u32, u64)> = BTreeMap::new();
    for (who, pid) in processes {
        let (count, sum) = found.entry(*who).or_default();
        *count += 1;
        *sum += parse_field(&text(&format!("/proc/{pid}/status")), "VmRSS:");
    }
    found
}

/// A process that is gone has used nothing more.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn difference<K: Clone + Ord>(later: &BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let before = |key: &K| earlier.get(key).copied().unwrap_or(0);
    later.iter().map(|(key, value)| (key.clone(), value.saturating_sub(before(key)))).collect()
}

/// Threads of one pool count as one: their name without its number.
fn family(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-').to_owned()
}

/// Name and run time of a process or thread, from its `stat`. The name may hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    // The fields after the name are counted from 3 (state); 14 and 15 are user and system time.
    let mut fields = tail.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((name, (user + system) * MICROS_PER_TICK))
}

/// Context switches of either kind, from a thread's `status`.
fn parse_switches(status: &str) -> u64 {
    parse_field(status, "voluntary_ctxt_switches:") + parse_field(status, "nonvoluntary_ctxt_switches:")
}

fn parse_field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What all processors did besides idling, from `/proc/stat`: user, nice, system, irq, softirq.
fn parse_machine(stat: &str) -> u64 {
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix("cpu ")) else { return 0 };
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let ticks: u64 = [0, 1, 2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum();
    ticks * MICROS_PER_TICK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_process_is_called() {
        let stat = "41 (a) (b) c) S 1 41 41 0 -1 4194304 1044 7 3 0 250 75 9 9 20 0 12 0 8123 7000000 3000 0 0\n";
        assert_eq!(parse_stat(stat), Some(("a) (b) c", 3_250_000)));
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("41 (a) S 1 2"), None);
    }

    #[test]
    fn switches_and_memory_are_read_from_a_status() {
        let status = "Name:\tx\nVmRSS:\t    1756 kB\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(parse_switches(status), 42);
        assert_eq!(parse_field(status, "VmRSS:"), 1756);
        assert_eq!(parse_field(status, "VmHWM:"), 0);
    }

    #[test]
    fn the_machine_is_busy_with_everything_but_waiting() {
        let stat = "cpu  10 1 20 1000 500 3 6 70 0 0\ncpu0 5 0 10 500 250 1 3 35 0 0\n";
        assert_eq!(parse_machine(stat), 400_000);
        assert_eq!(parse_machine(""), 0);
    }

    #[test]
    fn threads_of_one_pool_count_as_one() {
        assert_eq!(family("reads-11"), "reads");
        assert_eq!(family("tokio-rt-worker"), "tokio-rt-worker");
    }

    #[test]
    fn between_two_readings_only_what_was_used_counts() {
        let accounts = |cpu_us| Accounts {
            cpu_us: BTreeMap::from([(Who::Node, cpu_us), (Who::Client, 5)]),
            machine_us: cpu_us * 2,
            ..Accounts::default()
        };
        let used = accounts(30).since(&accounts(10));
        assert_eq!((used.servers_us(), used.cpu_us[&Who::Client], used.machine_us), (20, 0, 40));
    }

    #[test]
    fn our_own_account_is_found() {
        let me = [(Who::Client, std::process::id())];
        let mut x = 1_u64;
        while Accounts::read(&me).cpu_us[&Who::Client] == 0 {
            (0..1_000_000).for_each(|_| x = std::hint::black_box(x.wrapping_mul(3)));
        }
        assert!(resident_kib(&me)[&Who::Client].1 > 0);
    }
}
