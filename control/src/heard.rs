//! What all nodes have told somebody else of this process, handed on to the driver: one question serves both.
//!
//! It is taken once, soon, and only where the nodes were asked after the driver's last deed: an older answer does not know of groups that
//! the driver has created or destroyed since, and a table would be forgotten that has just been born.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::plan::Observed;

/// Who has heard something older asks anew: whoever looks may have met a slow API server since.
const FRESH: Duration = Duration::from_secs(5);

/// A handle; clones share what was heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    last: Arc<Mutex<Option<Hearing>>>,
}

#[derive(Debug)]
struct Hearing {
    /// When the nodes began to be asked.
    asked: Instant,
    observed: Arc<Observed>,
}

impl Heard {
    /// All nodes were asked at that time, and told this.
    pub fn tell(&self, asked: Instant, observed: Arc<Observed>) {
        self.replace(Some(Hearing { asked, observed }));
    }

    /// None where nothing has been told that was asked since, or what was told is old by now.
    pub fn take_since(&self, done: Instant, now: Instant) -> Option<Arc<Observed>> {
        let counts = |hearing: &Hearing| hearing.asked >= done && now.duration_since(hearing.asked) < FRESH;
        self.replace(None).filter(counts).map(|hearing| hearing.observed)
    }

    fn replace(&self, next: Option<Hearing>) -> Option<Hearing> {
        std::mem::replace(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_taken_once_soon_and_never_from_before_the_last_deed() {
        let (heard, observed) = (Heard::default(), Arc::new(Observed { complete: true, ..Observed::default() }));
        let (asked, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(heard.take_since(asked, asked), None);
        heard.tell(asked, Arc::clone(&observed));
        assert_eq!(heard.take_since(asked, asked + second), Some(Arc::clone(&observed)));
        assert_eq!(heard.take_since(asked, asked + second), None);
        heard.tell(asked, Arc::clone(&observed));
        assert_eq!(heard.take_since(asked + second, asked + second), None);
        heard.tell(asked, observed);
        assert_eq!(heard.take_since(asked, asked + FRESH), None);
    }
}
