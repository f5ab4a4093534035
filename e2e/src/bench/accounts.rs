//! What processes cost, from the operating system's own accounts (`/proc`), by role and by the name of the thread.
//!
//! A process's `stat` is exact run time in ticks of 10 ms, ended threads included; a thread's `schedstat` is in nanoseconds.
//! The machine's busy time is what its processors did not idle: the kernel measures idleness exactly, business only by sampling.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

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
    /// What Trivet is compared with.
    Dynalite,
    /// Ourselves.
    Client,
}

impl Who {
    pub const TRIVET: [Who; 4] = [Who::Node, Who::Router, Who::MemDs, Who::Parent];

    pub fn name(self) -> &'static str {
        match self {
            Who::Node => "nodes",
            Who::Router => "router",
            Who::MemDs => "memds",
            Who::Parent => "parent",
            Who::Dynalite => "dynalite",
            Who::Client => "client",
        }
    }
}

/// One process whose accounts are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub who: Who,
    pub pid: u32,
}

impl Process {
    pub fn ourselves() -> Process {
        Process { who: Who::Client, pid: std::process::id() }
    }
}

/// What one role used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub cpu_us: u64,
    /// Context switches of either kind, of the threads that live.
    pub switches: u64,
    pub minor_faults: u64,
    /// What was made to be written to disks.
    pub written_bytes: u64,
}

/// What was used since the processes began, or between two of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub roles: BTreeMap<Who, Used>,
    pub threads_ns: BTreeMap<(Who, String), u64>,
    /// Everything that ran on this machine, whoever it was.
    pub machine_us: u64,
    /// What the machine was kept from by others on its host.
    pub stolen_us: u64,
}

impl Accounts {
    pub fn read(processes: &[Process]) -> Accounts {
        let mut accounts = Accounts::default();
        for Process { who, pid } in processes {
            let used = accounts.roles.entry(*who).or_default();
            if let Some(stat) = parse_stat(&text(&format!("/proc/{pid}/stat"))) {
                used.cpu_us += stat.cpu_us;
                used.minor_faults += stat.minor_faults;
            }
            used.written_bytes += parse_field(&text(&format!("/proc/{pid}/io")), "write_bytes:");
            for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let folder = thread.path().display().to_string();
                used.switches += parse_switches(&text(&format!("{folder}/status")));
                let name = family(text(&format!("{folder}/comm")).trim_end());
                *accounts.threads_ns.entry((*who, name)).or_default() +=
                    parse_schedstat(&text(&format!("{folder}/schedstat")));
            }
        }
        let machine = parse_machine(&text("/proc/stat"));
        let passed_us = u64::try_from(since_boot().as_micros()).unwrap_or(u64::MAX).saturating_mul(machine.processors);
        accounts.machine_us = passed_us.saturating_sub(machine.idle_us + machine.stolen_us);
        accounts.stolen_us = machine.stolen_us;
        accounts
    }

    /// What was used from `earlier` to now.
    pub fn since(&self, earlier: &Accounts) -> Accounts {
        let before = |who: &Who| earlier.roles.get(who).copied().unwrap_or_default();
        let thread_before = |thread: &(Who, String)| earlier.threads_ns.get(thread).copied().unwrap_or(0);
        let threads = self.threads_ns.iter();
        Accounts {
            roles: self.roles.iter().map(|(who, used)| (*who, used.since(before(who)))).collect(),
            threads_ns: threads
                .map(|(thread, ns)| (thread.clone(), ns.saturating_sub(thread_before(thread))))
                .collect(),
            machine_us: self.machine_us.saturating_sub(earlier.machine_us),
            stolen_us: self.stolen_us.saturating_sub(earlier.stolen_us),
        }
    }

    /// All roles but ourselves.
    pub fn servers(&self) -> Used {
        let servers = self.roles.iter().filter(|(who, _)| **who != Who::Client);
        servers.fold(Used::default(), |sum, (_, used)| sum.plus(*used))
    }

    pub fn client_us(&self) -> u64 {
        self.roles.get(&Who::Client).map_or(0, |used| used.cpu_us)
    }
}

impl Used {
    fn since(self, earlier: Used) -> Used {
        Used {
            cpu_us: self.cpu_us.saturating_sub(earlier.cpu_us),
            switches: self.switches.saturating_sub(earlier.switches),
            minor_faults: self.minor_faults.saturating_sub(earlier.minor_faults),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }

    fn plus(self, other: Used) -> Used {
        Used {
            cpu_us: self.cpu_us + other.cpu_us,
            switches: self.switches + other.switches,
            minor_faults: self.minor_faults + other.minor_faults,
            written_bytes: self.written_bytes + other.written_bytes,
        }
    }
}

/// Memory of all servers in KiB, each page shared among those who use it (PSS).
pub fn memory_kib(processes: &[Process]) -> u64 {
    let servers = processes.iter().filter(|process| process.who != Who::Client);
    servers.map(|process| parse_field(&text(&format!("/proc/{}/smaps_rollup", process.pid)), "Pss:")).sum()
}

/// A process that is gone has used nothing more.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Any clock that does not stop will do: only differences are used.
fn since_boot() -> std::time::Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // Far enough in the past that idle time since the boot never exceeds it.
    const LEAD: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 86_400);
    START.get_or_init(Instant::now).elapsed() + LEAD
}

/// Threads of one pool count as one: their name without its number.
pub fn family(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-').to_owned()
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_us: u64,
    minor_faults: u64,
}

/// From a process's `stat`. Its name may hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // proc(5) counts from 1 with the name as 2: here 0 is the state.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat { minor_faults: field(10)?, cpu_us: (field(14)? + field(15)?) * MICROS_PER_TICK })
}

/// Nanoseconds on a processor.
fn parse_schedstat(schedstat: &str) -> u64 {
    schedstat.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Context switches of either kind, from a thread's `status`.
fn parse_switches(status: &str) -> u64 {
    parse_field(status, "voluntary_ctxt_switches:") + parse_field(status, "nonvoluntary_ctxt_switches:")
}

fn parse_field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Machine {
    processors: u64,
    idle_us: u64,
    stolen_us: u64,
}

/// From `/proc/stat`: processors wait when they idle, with or without a disk to wait for.
fn parse_machine(stat: &str) -> Machine {
    let mut machine = Machine::default();
    for line in stat.lines() {
        let Some((name, fields)) = line.split_once(' ') else { continue };
        let fields: Vec<u64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let of = |index: usize| fields.get(index).copied().unwrap_or(0) * MICROS_PER_TICK;
        if name == "cpu" {
            (machine.idle_us, machine.stolen_us) = (of(3) + of(4), of(7));
        } else if name.starts_with("cpu") {
            machine.processors += 1;
        }
    }
    machine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_process_is_called() {
        let stat = "41 (a) (b) c) S 1 41 41 0 -1 4194304 1044 7 3 0 250 75 9 9 20 0 12 0 8123 7000000 3000 0 0\n";
        assert_eq!(parse_stat(stat), Some(Stat { cpu_us: 3_250_000, minor_faults: 1044 }));
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("41 (a) S 1 2"), None);
    }

    #[test]
    fn switches_memory_and_run_time_are_read() {
        let status = "Name:\tx\nPss:\t    1756 kB\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(parse_switches(status), 42);
        assert_eq!(parse_field(status, "Pss:"), 1756);
        assert_eq!(parse_field(status, "VmHWM:"), 0);
        assert_eq!(parse_field("rchar: 5\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n", "write_bytes:"), 8192);
        assert_eq!((parse_schedstat("123456 50114 1\n"), parse_schedstat("")), (123_456, 0));
    }

    #[test]
    fn a_machine_is_idle_when_it_waits_for_disks_too() {
        let stat = "cpu  10 1 20 1000 500 3 6 70 0 0\ncpu0 5 0 10 500 250 1 3 35 0 0\ncpu1 5 1 10 500 250 2 3 35 0 0\nintr 5\n";
        let expected = Machine { processors: 2, idle_us: 15_000_000, stolen_us: 700_000 };
        assert_eq!(parse_machine(stat), expected);
        assert_eq!(parse_machine(""), Machine::default());
    }

    #[test]
    fn threads_of_one_pool_count_as_one() {
        assert_eq!(family("reads-11"), "reads");
        assert_eq!(family("tokio-rt-worker"), "tokio-rt-worker");
    }

    #[test]
    fn between_two_readings_only_what_was_used_counts() {
        let accounts = |cpu_us| Accounts {
            roles: BTreeMap::from([
                (Who::Node, Used { cpu_us, ..Used::default() }),
                (Who::Client, Used { cpu_us: 5, ..Used::default() }),
            ]),
            machine_us: cpu_us * 2,
            ..Accounts::default()
        };
        let used = accounts(30).since(&accounts(10));
        assert_eq!((used.servers().cpu_us, used.client_us(), used.machine_us), (20, 0, 40));
    }

    #[test]
    fn our_own_account_is_found() {
        let me = [Process::ourselves()];
        let mut x = 1_u64;
        while Accounts::read(&me).client_us() == 0 {
            (0..1_000_000).for_each(|_| x = std::hint::black_box(x.wrapping_mul(3)));
        }
        let accounts = Accounts::read(&me);
        assert!(accounts.machine_us > 0 && accounts.threads_ns.values().sum::<u64>() > 0);
        assert!(accounts.roles[&Who::Client].minor_faults > 0);
    }
}
