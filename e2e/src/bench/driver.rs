//! The client's loop: one thread drives its connections with one epoll, and sleeps when nothing is due.
//!
//! A request that is due goes out on the connection that was used last; if all are busy it waits, and its latency is counted
//! from when it was due all the same.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::arrivals::Arrivals;
use super::connection::{Answer, Connection};
use super::histogram::Histogram;
use super::keys::Chooser;
use super::load::{Kind, Load, Pace};
use crate::random::Random;

/// How long after the stop the last answers may take.
pub const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long a client waits for a connection before it gives the request up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long after a failure to connect it is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// A listener's queue holds a thousand or so, and whoever finds it full tries again after seconds.
const CONNECTED_AT_ONCE: usize = 200;
const ACCEPTED_WITHIN: Duration = Duration::from_millis(20);
/// How often a sleeping driver looks whether it is to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// Tells all drivers of a measurement where it stands.
pub struct Phase {
    begun: Instant,
    /// Nanoseconds since `begun`; `u64::MAX` while it is not known.
    from: AtomicU64,
    to: AtomicU64,
    /// When the last success came; 0 before the first.
    succeeded: AtomicU64,
    stop: AtomicBool,
}

impl Default for Phase {
    fn default() -> Phase {
        let unknown = || AtomicU64::new(u64::MAX);
        let (succeeded, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Phase { begun: Instant::now(), from: unknown(), to: unknown(), succeeded, stop }
    }
}

impl Phase {
    pub fn open_window(&self) {
        self.from.store(self.nanos(Instant::now()), Ordering::Relaxed);
    }

    pub fn close_window(&self) {
        self.to.store(self.nanos(Instant::now()), Ordering::Relaxed);
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether anything has since the window was opened.
    pub fn has_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed) >= self.from.load(Ordering::Relaxed)
    }

    /// How long nothing has succeeded.
    pub fn fruitless(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_nanos(self.succeeded.load(Ordering::Relaxed)))
    }

    fn in_window(&self, time: Instant) -> bool {
        let at = self.nanos(time);
        self.from.load(Ordering::Relaxed) <= at && at < self.to.load(Ordering::Relaxed)
    }

    fn nanos(&self, time: Instant) -> u64 {
        u64::try_from(time.duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

/// How often what came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u64,
    /// Successes without what was asked for, or with more than that.
    pub wrong: u64,
    pub refused_4xx: u64,
    pub failed_5xx: u64,
    /// Connections that ended instead of answering, or never answered.
    pub broken: u64,
    /// Given up before they were sent, since no connection became free.
    pub unsent: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        let Counts { ok, wrong, refused_4xx, failed_5xx, broken, unsent } = other;
        self.ok += ok;
        self.wrong += wrong;
        self.refused_4xx += refused_4xx;
        self.failed_5xx += failed_5xx;
        self.broken += broken;
        self.unsent += unsent;
    }

    pub fn errors(&self) -> u64 {
        self.wrong + self.refused_4xx + self.failed_5xx + self.broken
    }

    /// Requests that may or may not have been carried out.
    pub fn unknown(&self) -> u64 {
        self.failed_5xx + self.broken
    }

    fn answered(answer: Answer, kind: &Kind) -> Counts {
        let mut counts = Counts::default();
        let place = match answer.status {
            200 if kind.body_bytes.contains(&answer.length) => &mut counts.ok,
            200 => &mut counts.wrong,
            400..500 => &mut counts.refused_4xx,
            _ => &mut counts.failed_5xx,
        };
        *place += 1;
        counts
    }
}

/// What one driver saw.
#[derive(Clone, Default)]
pub struct Part {
    /// Answered while measured.
    pub counts: Counts,
    /// From the first request to the last, warm-up included.
    pub whole: Counts,
    /// Of successes that were due while measured. An error that comes fast must not make them look good.
    pub latencies: Histogram,
}

impl Part {
    pub fn add(&mut self, other: &Part) {
        self.counts.add(other.counts);
        self.whole.add(other.whole);
        self.latencies.merge(&other.latencies);
    }
}

/// A request and since when it is due.
#[derive(Clone, Copy)]
struct Job {
    kind: usize,
    request: usize,
    due: Instant,
}

/// Where jobs come from.
enum Source {
    /// Whenever a connection is free.
    Closed,
    Arrivals {
        arrivals: Arrivals,
        begun: Instant,
    },
    /// These, and again until they have succeeded.
    Once(Vec<(usize, usize)>),
}

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    job: Option<Job>,
}

pub struct Driver<'a> {
    load: &'a Load,
    phase: &'a Phase,
    choosers: Vec<Chooser>,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    /// Slots without a job; the last one is used first.
    idle: Vec<usize>,
    random: Random,
    source: Source,
    not_before: Instant,
    part: Part,
}

impl<'a> Driver<'a> {
    /// The driver of one thread of so many; it opens its connections.
    pub fn new(load: &'a Load, thread: u64, phase: &'a Phase) -> io::Result<Driver<'a>> {
        let connections = (thread..load.connections).step_by(usize::try_from(load.threads).unwrap_or(1)).count();
        let random = Random(load.seed ^ ((thread + 1) << 32));
        let mut driver = Driver {
            load,
            phase,
            choosers: load.kinds.iter().map(|kind| Chooser::new(load.keys, kind.requests.len() as u64)).collect(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: (0..connections).map(|_| Slot::default()).collect(),
            idle: (0..connections).rev().collect(),
            source: Source::new(load, thread, random.clone()),
            random,
            not_before: Instant::now(),
            part: Part::default(),
        };
        for slot in 0..connections {
            driver.connect(slot)?;
            if slot % CONNECTED_AT_ONCE == CONNECTED_AT_ONCE - 1 {
                std::thread::park_timeout(ACCEPTED_WITHIN);
            }
        }
        driver.source.begin();
        Ok(driver)
    }

    pub fn run(mut self) -> io::Result<Part> {
        // Sleeping threads are woken up to 50 µs late otherwise; where that cannot be set, it is not.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).unwrap_or_default();
        let mut events = Vec::with_capacity(256);
        let mut stopped: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if stopped.is_none() && (self.phase.stop.load(Ordering::Relaxed) || self.source.is_empty(self.busy())) {
                stopped = Some(now);
            }
            match stopped {
                None => self.send_what_is_due(now),
                Some(since) if self.busy() == 0 || now > since + LAST_ANSWERS_WITHIN => break,
                Some(_) => {}
            }
            let sleep = Timespec::try_from(self.sleep(now)).map_err(io::Error::other)?;
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&sleep)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                self.advance(usize::try_from(event.data.u64()).expect("it was made from a slot's number"));
            }
        }
        let unanswered = Counts { broken: self.busy() as u64, ..Counts::default() };
        self.part.whole.add(unanswered);
        self.part.counts.add(unanswered);
        Ok(self.part)
    }

    fn busy(&self) -> usize {
        self.slots.len() - self.idle.len()
    }

    /// Until the next request is due, if a connection is free for it.
    fn sleep(&self, now: Instant) -> Duration {
        if self.idle.is_empty() {
            return LONGEST_SLEEP;
        }
        let due = self.source.due(now).map_or(LONGEST_SLEEP, |due| due.saturating_duration_since(now));
        due.max(self.not_before.saturating_duration_since(now)).min(LONGEST_SLEEP)
    }

    fn send_what_is_due(&mut self, now: Instant) {
        self.give_up(now);
        while now >= self.not_before && self.source.due(now).is_some_and(|due| due <= now) {
            let Some(slot) = self.idle.pop() else { return };
            if self.slots[slot].connection.is_none() && self.connect(slot).is_err() {
                self.idle.push(slot);
                self.not_before = now + AGAIN_AFTER;
                self.count(Counts { broken: 1, ..Counts::default() }, now, None);
                return;
            }
            let Some(job) = self.source.take(now, &self.load.kinds, &self.choosers, &mut self.random) else { return };
            let slot_of = &mut self.slots[slot];
            slot_of.job = Some(job);
            if let Some(connection) = &mut slot_of.connection {
                connection.begin();
            }
            self.advance(slot);
        }
    }

    /// Requests that have waited too long for a connection.
    fn give_up(&mut self, now: Instant) {
        let Source::Arrivals { arrivals, begun } = &mut self.source else { return };
        let mut unsent = 0;
        while *begun + arrivals.next() + PATIENCE < now {
            arrivals.advance();
            unsent += 1;
        }
        if unsent > 0 {
            self.count(Counts { unsent, ..Counts::default() }, now, None);
        }
    }

    /// Something happened on this connection, or its request is new.
    fn advance(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let Some(connection) = &mut slot.connection else { return };
        let Some(job) = slot.job else {
            // Servers close connections that idle for long: no request was lost.
            if connection.is_over() {
                slot.connection = None;
            }
            return;
        };
        let kind = &self.load.kinds[job.kind];
        let counts = match connection.advance(&kind.requests[job.request]) {
            Ok(None) => return,
            Ok(Some(answer)) => Counts::answered(answer, kind),
            Err(_) => {
                slot.connection = None;
                Counts { broken: 1, ..Counts::default() }
            }
        };
        slot.job = None;
        self.idle.push(number);
        self.count(counts, Instant::now(), Some(job));
        if counts.ok == 0 {
            self.source.failed(job);
            // What fails at once must not fail a million times.
            self.not_before = if counts.broken > 0 { Instant::now() + AGAIN_AFTER } else { self.not_before };
        }
    }

    fn count(&mut self, counts: Counts, now: Instant, job: Option<Job>) {
        self.part.whole.add(counts);
        if counts.ok > 0 {
            self.phase.succeeded.fetch_max(self.phase.nanos(now), Ordering::Relaxed);
        }
        if self.phase.in_window(now) {
            self.part.counts.add(counts);
        }
        if let Some(job) = job.filter(|job| counts.ok == 1 && self.phase.in_window(job.due)) {
            self.part.latencies.record(now.saturating_duration_since(job.due));
        }
    }

    fn connect(&mut self, slot: usize) -> io::Result<()> {
        let connection = Connection::open(&self.load.address)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, connection.descriptor(), epoll::EventData::new_u64(slot as u64), flags)?;
        self.slots[slot].connection = Some(connection);
        Ok(())
    }
}

impl Source {
    fn new(load: &Load, thread: u64, mut random: Random) -> Source {
        match load.pace {
            Pace::Closed => Source::Closed,
            Pace::Poisson { per_second } => {
                let arrivals = Arrivals::new(random.below(u64::MAX), per_second / load.threads as f64);
                Source::Arrivals { arrivals, begun: Instant::now() }
            }
            Pace::Once => {
                let of_kind =
                    |(kind, list): (usize, &Kind)| (0..list.requests.len()).map(move |request| (kind, request));
                let all = load.kinds.iter().enumerate().flat_map(of_kind);
                let mine = all.skip(usize::try_from(thread).unwrap_or(0));
                Source::Once(mine.step_by(usize::try_from(load.threads).unwrap_or(1)).collect())
            }
        }
    }

    /// Connections take a while to stand; arrivals count from now.
    fn begin(&mut self) {
        if let Source::Arrivals { begun, .. } = self {
            *begun = Instant::now();
        }
    }

    /// Whether nothing is left to be done, with so many jobs under way.
    fn is_empty(&self, busy: usize) -> bool {
        matches!(self, Source::Once(left) if left.is_empty() && busy == 0)
    }

    /// When the next job is, or was, due.
    fn due(&self, now: Instant) -> Option<Instant> {
        match self {
            Source::Closed => Some(now),
            Source::Arrivals { arrivals, begun } => Some(*begun + arrivals.next()),
            Source::Once(left) => (!left.is_empty()).then_some(now),
        }
    }

    fn take(&mut self, now: Instant, kinds: &[Kind], choosers: &[Chooser], random: &mut Random) -> Option<Job> {
        let due = self.due(now)?;
        match self {
            Source::Closed => {}
            Source::Arrivals { arrivals, .. } => arrivals.advance(),
            Source::Once(left) => return left.pop().map(|(kind, request)| Job { kind, request, due }),
        }
        let kind = usize::try_from(random.below(kinds.len() as u64)).expect("it is below a length");
        Some(Job { kind, request: choosers[kind].choose(random), due })
    }

    fn failed(&mut self, job: Job) {
        if let Source::Once(left) = self {
            // Behind all others: meanwhile what it ran into may have passed.
            left.insert(0, (job.kind, job.request));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::bench::keys::Keys;

    fn kind(requests: &[&str]) -> Kind {
        Kind { requests: requests.iter().map(|text| text.as_bytes().to_vec()).collect(), body_bytes: 2..=2 }
    }

    fn load(address: String, pace: Pace, connections: u64) -> Load {
        let kinds = vec![kind(&["one\n", "two\n"]), kind(&["three\n"])];
        Load { address, kinds: kinds.into(), keys: Keys::Uniform, pace, connections, threads: 1, seed: 1 }
    }

    /// Answers every line with what `answer` says, until it says nothing.
    fn serve(answer: fn(&str) -> Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || serve_one(stream.unwrap(), answer));
            }
        });
        address
    }

    fn serve_one(mut stream: TcpStream, answer: fn(&str) -> Option<&'static str>) {
        let (mut line, mut byte) = (String::new(), [0]);
        while stream.read(&mut byte).is_ok_and(|read| read == 1) {
            if byte != *b"\n" {
                line.push(char::from(byte[0]));
                continue;
            }
            let Some(text) = answer(&line) else { return };
            // In two parts, so that a reader has to put them together.
            let (first, second) = text.split_at(text.len() / 2);
            stream.write_all(first.as_bytes()).unwrap();
            stream.write_all(second.as_bytes()).unwrap();
            line.clear();
        }
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{ }";
    const FAILED: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

    #[test]
    fn what_is_sent_once_is_sent_again_until_it_succeeds() {
        static SEEN: AtomicU64 = AtomicU64::new(0);
        let address = serve(|_| match SEEN.fetch_add(1, Ordering::Relaxed) {
            0 => Some(FAILED),
            1 => None,
            _ => Some(OK),
        });
        let (load, phase) = (load(address, Pace::Once, 1), Phase::default());
        let part = Driver::new(&load, 0, &phase).unwrap().run().unwrap();
        assert_eq!(part.whole, Counts { ok: 3, failed_5xx: 1, broken: 1, ..Counts::default() });
        assert_eq!(part.counts, Counts::default());
    }

    #[test]
    fn a_closed_loop_keeps_every_connection_busy_and_counts_what_is_measured() {
        let address = serve(|line| Some(if line == "three" { LONG } else { OK }));
        let (load, phase) = (load(address, Pace::Closed, 4), Phase::default());
        phase.open_window();
        let part = std::thread::scope(|scope| {
            let driver = scope.spawn(|| Driver::new(&load, 0, &phase).unwrap().run().unwrap());
            let deadline = Instant::now() + Duration::from_millis(100);
            while Instant::now() < deadline {
                std::thread::yield_now();
            }
            phase.close_window();
            phase.stop();
            driver.join().unwrap()
        });
        assert!(part.counts.ok > 0 && part.counts.wrong > 0, "{:?}", part.counts);
        assert!(part.whole.ok >= part.counts.ok);
        assert_eq!((part.whole.broken, part.whole.unsent), (0, 0));
        assert!(part.latencies.total() > 0 && part.latencies.total() <= part.whole.ok);
    }

    #[test]
    fn who_finds_no_connection_is_late_and_gives_up_in_the_end() {
        // Nobody answers, so the only connection never becomes free.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (load, phase) = (
            load(listener.local_addr().unwrap().to_string(), Pace::Poisson { per_second: 1_000.0 }, 1),
            Phase::default(),
        );
        let mut driver = Driver::new(&load, 0, &phase).unwrap();
        let begun = Instant::now();
        driver.send_what_is_due(begun + Duration::from_millis(100));
        assert_eq!((driver.busy(), driver.part.whole.unsent), (1, 0));
        driver.send_what_is_due(begun + PATIENCE + Duration::from_millis(200));
        let unsent = driver.part.whole.unsent;
        assert!((100..300).contains(&unsent), "{unsent}");
    }

    #[test]
    fn an_answer_counts_by_its_status_and_a_success_by_its_length_too() {
        let mut counts = Counts::default();
        for (status, length) in [(200, 1), (200, 2), (200, 3), (400, 2), (413, 0), (500, 20), (503, 0)] {
            counts.add(Counts::answered(Answer { status, length }, &kind(&[])));
        }
        assert_eq!(counts, Counts { ok: 1, wrong: 2, refused_4xx: 2, failed_5xx: 2, ..Counts::default() });
        assert_eq!((counts.errors(), counts.unknown()), (6, 2));
    }
}
