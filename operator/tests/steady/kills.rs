//! The operator's process ends at its N-th call, before or after the call has reached anybody: its successor makes the same of it.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;

use futures::StreamExt as _;
use kube::Client;

use crate::picture::Picture;
use crate::process::Operator;
use crate::stage::Stage;
use crate::toll::{Kill, When};

/// Runs at once: they wait more than they work.
const AT_ONCE: usize = 4;

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What is wished of an operator, and how to know that it has come about.
pub struct Scenario {
    pub name: &'static str,
    /// What is there before: made by an operator that nobody disturbs.
    pub before: for<'a> fn(&'a Stage) -> Done<'a>,
    /// What happens under the operator that is killed.
    pub then: for<'a> fn(&'a Stage) -> Done<'a>,
    pub is_done: fn(&Picture) -> bool,
}

/// Which calls are the last ones.
#[derive(Clone, Copy, Debug)]
pub enum Share {
    All,
    /// One in so many, beginning with a number that is another for each scenario.
    Every(usize),
}

impl Scenario {
    async fn play(&self, client: &Client, server: &kube::Config, kill: Option<Kill>) -> Played {
        let stage = Stage::new(client, server).await;
        {
            let _undisturbed = Operator::start(&stage.told, None);
            (self.before)(&stage).await;
        }
        let operator = Operator::start(&stage.told, kill);
        (self.then)(&stage).await;
        Played { stage, operator }
    }

    /// Every run ends as the undisturbed one does.
    pub async fn survives(&self, client: &Client, server: &kube::Config, share: Share) {
        let played = self.play(client, server, None).await;
        let wanted = played.stage.settled(self.name, self.is_done).await;
        let calls = played.operator.calls();
        played.end();
        let (first, step) = match share {
            Share::All => (1, 1),
            Share::Every(step) => (1 + self.name.len() % step, step),
        };
        let kills = (first..=calls.len()).step_by(step);
        let kills = kills.flat_map(|at| [When::Before, When::After].map(|when| Kill { at, when }));
        let wanted = &wanted;
        let runs = kills.map(|kill| async move {
            let played = self.play(client, server, Some(kill)).await;
            let last = |_: &Picture| played.operator.calls().get(kill.at - 1).cloned().unwrap_or_default();
            let ended = played.stage.ends_as(wanted).await;
            let killed = played.operator.starts() > 1;
            let trouble =
                ended.err().map(|picture| format!("{kill:?} at {}:\n{}", last(&picture), picture.difference(wanted)));
            played.end();
            (killed, trouble)
        });
        let outcomes: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
        let killed = outcomes.iter().filter(|(killed, _)| *killed).count();
        let mut report = format!("{}: {} calls, {} runs, {killed} killed", self.name, calls.len(), outcomes.len());
        let troubles: Vec<String> = outcomes.into_iter().filter_map(|(_, trouble)| trouble).collect();
        for trouble in &troubles {
            write!(report, "\n{trouble}").unwrap();
        }
        assert!(troubles.is_empty(), "{report}");
        assert!(killed > 0, "{report}");
        println!("{report}");
    }
}

struct Played {
    stage: Stage,
    operator: Operator,
}

impl Played {
    fn end(self) {
        drop(self.operator);
        self.stage.nothing_is_broken();
    }
}
