//! A CA and its replacement: step by step, and in a world where everything is late.

use proptest::prelude::{Strategy, prop_assert_eq, prop_oneof, proptest};

use super::*;

const DAY_S: i64 = 86_400;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pair(name: &str) -> Pair {
    Pair { certificate: format!("{name}\n"), key: format!("key of {name}") }
}

fn settled() -> Authority {
    Authority::first(pair("old"), "", at(0))
}

fn report(process: &str, trusts: &str) -> Report {
    Report { process: process.to_owned(), trusts: Ok(trusts.to_owned()) }
}

fn seen<'a>(second: i64, reports: &'a [Report]) -> Seen<'a> {
    Seen { now: at(second), wish: "", began: at(0), bundle: "now", unwritten: &[], reports }
}

#[test]
fn every_step_has_a_bundle_of_its_own_and_new_leaves_are_trusted_before_they_are_made() {
    let first = settled();
    assert_eq!((first.bundle().as_str(), first.signer()), ("old\n", Some(pair("old"))));
    let both = first.begin(pair("new"), "today", at(1));
    assert_eq!((both.bundle().as_str(), both.signer()), ("old\nnew\n", Some(pair("old"))));
    let signing = both.advance(at(2));
    assert_eq!((signing.bundle().as_str(), signing.signer()), ("new\nold\n", Some(pair("new"))));
    let dropping = signing.advance(at(3));
    assert_eq!((dropping.bundle().as_str(), dropping.signer()), ("new\n", Some(pair("new"))));
    let last = dropping.advance(at(4));
    assert_eq!((last.step.name(), last.since, last.answered.as_str()), ("Settled", at(4), "today"));
    assert_eq!(last.bundle(), "new\n");
}

#[test]
fn it_is_replaced_once_for_each_wish_and_at_half_its_time() {
    let authority = settled();
    assert_eq!(authority.next(&seen(DAY_S, &[])), Next::Rest);
    assert_eq!(authority.next(&Seen { wish: "today", ..seen(DAY_S, &[]) }), Next::Begin);
    let answered = Authority { answered: "today".to_owned(), ..authority.clone() };
    assert_eq!(answered.next(&Seen { wish: "today", ..seen(DAY_S, &[]) }), Next::Rest);
    assert_eq!(answered.next(&Seen { wish: "again", ..seen(DAY_S, &[]) }), Next::Begin);
    assert_eq!(authority.next(&seen(1_825 * DAY_S, &[])), Next::Rest);
    assert_eq!(authority.next(&seen(1_825 * DAY_S + 1, &[])), Next::Begin);
}

#[test]
fn a_step_waits_for_every_process_and_says_for_whom() {
    let authority = settled().begin(pair("new"), "", at(0));
    let level = [report("a", "now"), report("b", "now")];
    assert_eq!(authority.next(&seen(30, &level)), Next::Advance);
    // Nobody is asked for a second rotation meanwhile.
    assert_eq!(authority.next(&Seen { wish: "again", ..seen(30, &level) }), Next::Advance);
    let early = authority.next(&seen(29, &level));
    assert_eq!(early, Next::Wait(Waits { for_whom: Vec::new(), stuck: false }));
    let behind = [report("a", "now"), report("b", "before")];
    let Next::Wait(waits) = authority.next(&seen(30, &behind)) else { panic!("it went on") };
    assert_eq!((waits.for_whom, waits.stuck), (vec!["b has not read its new certificates yet".to_owned()], false));
    let silent = [Report { process: "c".to_owned(), trusts: Err("connection refused".to_owned()) }];
    let Next::Wait(waits) = authority.next(&seen(300, &silent)) else { panic!("it went on") };
    assert_eq!(waits.for_whom, ["c does not tell what it trusts: connection refused"]);
    assert!(waits.stuck);
    let unwritten = ["trv-tls-router".to_owned()];
    let unsaid = Seen { unwritten: &unwritten, ..seen(30, &level) };
    assert!(matches!(authority.next(&unsaid), Next::Wait(_)));
}

#[test]
fn a_lost_key_is_replaced_by_the_same_steps() {
    let lost = Authority::after_loss("old".to_owned(), pair("new"), "", at(0));
    assert_eq!((lost.bundle().as_str(), lost.signer()), ("old\nnew\n", None));
    let signing = lost.advance(at(1));
    assert_eq!((signing.bundle().as_str(), signing.signer()), ("new\nold", Some(pair("new"))));
}

/// Processes whose files follow the Secrets late, and an operator that may end after each write: certificates are names here.
struct World {
    authority: Authority,
    now: i64,
    /// By process: what its Secret holds, and what it has read of it: a bundle, and who signed its certificate.
    secrets: Vec<(String, String)>,
    read: Vec<(String, String)>,
    made: usize,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The operator looks, and ends after so many writes.
    Look {
        writes: usize,
    },
    /// kubelet brings a process its files.
    Bring {
        process: usize,
    },
    Pass {
        seconds: i64,
    },
}

impl World {
    fn new(processes: usize) -> World {
        let both = ("c0\n".to_owned(), "c0".to_owned());
        let authority = Authority::first(pair("c0"), "", at(0));
        World { authority, now: 0, secrets: vec![both.clone(); processes], read: vec![both; processes], made: 1 }
    }

    fn look(&mut self, wish: &str, mut writes: usize) {
        let bundle = self.authority.bundle();
        let signer = self.authority.certificate.trim().to_owned();
        let wished = (bundle.clone(), signer);
        for secret in &mut self.secrets {
            if *secret != wished && writes > 0 {
                (*secret, writes) = (wished.clone(), writes - 1);
            }
        }
        let unwritten = self.secrets.iter().filter(|secret| **secret != wished).map(|_| "secret".to_owned());
        let unwritten: Vec<String> = unwritten.collect();
        let reports: Vec<Report> = self.read.iter().map(|(bundle, _)| report("process", bundle)).collect();
        let now = at(self.now);
        let seen = Seen { now, wish, began: at(0), bundle: &bundle, unwritten: &unwritten, reports: &reports };
        let next = self.authority.next(&seen);
        if writes == 0 {
            return;
        }
        match next {
            Next::Rest | Next::Wait(_) => {}
            Next::Begin => {
                let made = pair(&format!("c{}", self.made));
                (self.authority, self.made) = (self.authority.clone().begin(made, wish, now), self.made + 1);
            }
            Next::Advance => self.authority = self.authority.clone().advance(now),
        }
    }

    fn happen(&mut self, event: Event, wish: &str) {
        match event {
            Event::Look { writes } => self.look(wish, writes),
            Event::Bring { process } => {
                let process = process % self.read.len();
                self.read[process] = self.secrets[process].clone();
            }
            Event::Pass { seconds } => self.now += seconds,
        }
    }

    /// Everybody trusts what everybody shows, and what a new process would be given.
    fn check(&self) {
        for (_, signer) in self.read.iter().chain(&self.secrets) {
            for (bundle, _) in self.read.iter().chain(&self.secrets) {
                assert!(bundle.lines().any(|trusted| trusted == signer), "{signer} is not among {bundle:?}");
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..8_usize).prop_map(|writes| Event::Look { writes }),
        (0..5_usize).prop_map(|process| Event::Bring { process }),
        (1..40_i64).prop_map(|seconds| Event::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn nobody_is_refused_whatever_is_late_and_whenever_the_operator_ends(events in proptest::collection::vec(event(), 1..400)) {
        let mut world = World::new(5);
        for (number, event) in events.into_iter().enumerate() {
            // Another wish comes in the middle.
            let wish = if number < 200 { "first" } else { "second" };
            world.happen(event, wish);
            world.check();
        }
        // And whatever has happened, it comes to an end.
        for _ in 0..8 {
            world.happen(Event::Pass { seconds: 30 }, "second");
            world.happen(Event::Look { writes: 8 }, "second");
            (0..5).for_each(|process| world.happen(Event::Bring { process }, "second"));
            world.check();
            world.happen(Event::Pass { seconds: 30 }, "second");
            world.happen(Event::Look { writes: 8 }, "second");
            world.check();
        }
        prop_assert_eq!((world.authority.step.name(), world.authority.answered.as_str()), ("Settled", "second"));
    }
}
