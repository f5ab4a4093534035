//! One operation on one partition: found, sent, judged, and asked again as long as it surely was not applied.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{NodeId, TableDescriptor, TableStatus};
use wire::data::request::Operation;
use wire::data::{Refused, Request, response};

use super::Failure;
use super::attempts::{Attempts, Purpose, Verdict};
use super::cache::{CachedPartition, CachedTable, Found, Leadership, Spot};
use super::inner::Inner;
use super::lookups::Said;
use super::node::{self, Outcome};
use super::pipe::Lost;

/// A read that a node does not answer for so long is asked elsewhere.
const READ_PATIENCE: Duration = Duration::from_secs(1);

/// How long the map is waited for where an old answer is at hand.
const FRESH_PATIENCE: Duration = Duration::from_secs(1);

/// Sorts after every encoded key: those begin with a hash of eight bytes and a tag of at most 3.
const BEYOND_ALL_KEYS: Bytes = Bytes::from_static(&[0xff; 16]);

/// A table as it is known now, and one of its partitions.
pub(super) struct Located {
    pub table: Arc<TableDescriptor>,
    pub partition: Arc<CachedPartition>,
}

impl Inner {
    /// For requests on items. A table that can be used is answered from the cache without a look-up: the operation that
    /// follows sends its own. A look-up that was needed here is counted as that operation's.
    pub async fn table(&self, name: &str, deadline: Instant) -> Result<Arc<TableDescriptor>, Failure> {
        let known = self.cache.table(name);
        if let Some(known) = known.as_ref().filter(|known| is_usable(known.descriptor.status)) {
            return Ok(Arc::clone(&known.descriptor));
        }
        let table = self.described(name, known, deadline).await?;
        if is_usable(table.status) {
            self.look_ups_ahead.fetch_add(1, Ordering::Relaxed);
        }
        Ok(table)
    }

    /// What MemDS says of the table now; what was known before only where it is silent.
    pub async fn describe(&self, name: &str, deadline: Instant) -> Result<Arc<TableDescriptor>, Failure> {
        self.described(name, self.cache.table(name), deadline).await
    }

    async fn described(
        &self,
        name: &str,
        known: Option<Arc<CachedTable>>,
        deadline: Instant,
    ) -> Result<Arc<TableDescriptor>, Failure> {
        let until = if known.is_some() { deadline.min(Instant::now() + FRESH_PATIENCE) } else { deadline };
        let mut pauses = 0;
        loop {
            let said = self.look_up(name, None, until).await;
            if said.is_ok_and(|said| said.complete && !said.has_table) {
                return Err(Failure::TableNotFound);
            }
            if let Some(table) = self.cache.table(name) {
                return Ok(Arc::clone(&table.descriptor));
            }
            self.pause(deadline, &mut pauses, NO_MAP).await?;
        }
    }

    /// Refreshes what a request was answered from, unless its look-up was sent before.
    fn refresh(&self, table: &TableDescriptor, spot: Spot<'_>, found: Found) {
        let ahead =
            self.look_ups_ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ahead| ahead.checked_sub(1));
        if ahead.is_err() {
            self.lookups.refresh(&table.name, Some(probe(spot)), found);
        }
    }

    /// One look-up, waited for.
    async fn look_up(&self, name: &str, key: Option<Bytes>, until: Instant) -> Result<Said, Lost> {
        match tokio::time::timeout_at(until.into(), self.lookups.wait(name, key)).await {
            Ok(said) => said,
            Err(_) => Err(Lost::Broken),
        }
    }

    /// One look-up, whatever is known: behind the answer if the place is known, else waited for.
    pub async fn locate(
        &self,
        table: &Arc<TableDescriptor>,
        spot: Spot<'_>,
        deadline: Instant,
    ) -> Result<Located, Failure> {
        let found = self.cache.find(table, spot);
        let mut newest = Arc::clone(table);
        if let Some(known) = found.table.as_ref().filter(|known| known.descriptor.id == table.id) {
            newest = Arc::clone(&known.descriptor);
        }
        match newest.status {
            TableStatus::Active | TableStatus::Updating => {
                if let Some(partition) = &found.partition {
                    let partition = Arc::clone(partition);
                    self.refresh(table, spot, found);
                    return Ok(Located { table: newest, partition });
                }
            }
            TableStatus::Deleting | TableStatus::Retained => {
                self.refresh(table, spot, found);
                return Err(Failure::TableNotActive);
            }
            TableStatus::Creating => {}
        }
        self.wait_located(table, spot, deadline).await
    }

    async fn wait_located(
        &self,
        table: &Arc<TableDescriptor>,
        spot: Spot<'_>,
        deadline: Instant,
    ) -> Result<Located, Failure> {
        let mut key = probe(spot);
        let mut pauses = 0;
        loop {
            let said = self.look_up(&table.name, Some(key.clone()), deadline).await;
            let found = self.cache.find(table, spot);
            let newest = match &found.table {
                Some(known) if known.descriptor.id == table.id => Arc::clone(&known.descriptor),
                // Deleted, and made again under its name: the request meant the old one.
                Some(_) => return Err(Failure::TableNotFound),
                None => Arc::clone(table),
            };
            if said.is_ok_and(|said| said.complete && !said.has_table) {
                return Err(Failure::TableNotFound);
            }
            match newest.status {
                TableStatus::Creating if said.is_ok() => return Err(Failure::TableNotActive),
                TableStatus::Deleting | TableStatus::Retained => return Err(Failure::TableNotActive),
                TableStatus::Active | TableStatus::Updating => {
                    if let Some(partition) = found.partition {
                        return Ok(Located { table: newest, partition });
                    }
                }
                TableStatus::Creating => {}
            }
            if let Some(further) = self.further(table, spot, &key) {
                key = further;
                continue;
            }
            let why = if said.is_ok() { NO_PARTITION } else { NO_MAP };
            self.pause(deadline, &mut pauses, why).await?;
        }
    }

    /// Backwards the map is asked for a key just below the boundary. Where the partition that holds it ends before the
    /// boundary, the one in question begins at that end or later.
    fn further(&self, table: &TableDescriptor, spot: Spot<'_>, key: &Bytes) -> Option<Bytes> {
        let Spot::Before(end) = spot else { return None };
        let held_by = self.cache.find(table, Spot::At(key)).partition?;
        let own_end = held_by.descriptor.range.end.clone()?;
        end.is_none_or(|end| own_end < *end).then_some(own_end)
    }

    /// Sends one operation until it is answered, fails, or the deadline has passed. `operation` is made anew for every
    /// attempt, for the partition it is then sent to.
    pub async fn call(
        &self,
        table: &Arc<TableDescriptor>,
        spot: Spot<'_>,
        purpose: Purpose,
        deadline: Instant,
        operation: impl Fn(&CachedPartition) -> Operation,
    ) -> Result<(response::Result, Arc<CachedPartition>), Failure> {
        let mut attempts = Attempts::new(purpose);
        let mut located = self.locate(table, spot, deadline).await?;
        loop {
            let verdict = match attempts.target(&located.partition, &self.zone) {
                Some(node) => {
                    let outcome = self.send(node, spot, &located, purpose, deadline, &operation).await;
                    let verdict = attempts.judge(node, &located.partition, outcome);
                    self.learnt(verdict, &mut attempts)
                }
                None => Verdict::Paused,
            };
            match verdict {
                Verdict::Done(result) => return Ok((result, located.partition)),
                Verdict::Failed(failure) => return Err(failure),
                Verdict::Gone => return Err(self.gone(table, deadline).await),
                Verdict::AtOnce => {}
                Verdict::PausedAlone => self.pause(deadline, &mut attempts.pauses, attempts.last).await?,
                Verdict::Paused | Verdict::Stale(_) => {
                    self.lookups.refresh(&table.name, Some(probe(spot)), Found::default());
                    self.pause(deadline, &mut attempts.pauses, attempts.last).await?;
                }
            }
            located = self.located_again(table, spot, deadline).await?;
        }
    }

    /// From the cache, without another look-up, if it is there.
    async fn located_again(
        &self,
        table: &Arc<TableDescriptor>,
        spot: Spot<'_>,
        deadline: Instant,
    ) -> Result<Located, Failure> {
        let found = self.cache.find(table, spot);
        let newest = match found.table {
            Some(known) if known.descriptor.id == table.id => Arc::clone(&known.descriptor),
            Some(_) | None => Arc::clone(table),
        };
        match found.partition {
            Some(partition) => Ok(Located { table: newest, partition }),
            None => self.wait_located(table, spot, deadline).await,
        }
    }

    async fn send(
        &self,
        node: NodeId,
        spot: Spot<'_>,
        located: &Located,
        purpose: Purpose,
        deadline: Instant,
        operation: impl Fn(&CachedPartition) -> Operation,
    ) -> Outcome {
        let Some(address) = self.cache.address(node) else {
            return Outcome::NotSent;
        };
        let now = Instant::now();
        let until = match purpose {
            Purpose::Write => deadline,
            Purpose::Read | Purpose::NearRead => deadline.min(now + READ_PATIENCE),
        };
        let left = until.saturating_duration_since(now).as_millis();
        let request = Request {
            id: 0,
            partition: located.partition.descriptor.id.0,
            epoch: located.partition.descriptor.epoch,
            deadline_ms: u32::try_from(left).unwrap_or(u32::MAX),
            table_version: located.table.version,
            operation: Some(operation(&located.partition)),
        };
        let before = located.partition.leadership();
        let is_left = || before.leader == node && self.is_led_by_another(spot, located, before);
        node::ask(&self.node(node), &address, request, until, is_left).await
    }

    /// As the map says; it is asked again, for who waits sends nothing by which the cache would learn.
    fn is_led_by_another(&self, spot: Spot<'_>, located: &Located, before: Leadership) -> bool {
        if located.partition.is_to_be_asked_for() {
            self.lookups.refresh(&located.table.name, Some(probe(spot)), Found::default());
        }
        let known = self.cache.find(&located.table, spot).partition;
        let same = known.filter(|known| known.descriptor.id == located.partition.descriptor.id);
        let now = same.map(|known| known.leadership()).unwrap_or_default();
        now.term > before.term && now.leader != before.leader
    }

    /// What to do about a stale descriptor follows from whether the node knew a newer one.
    fn learnt(&self, verdict: Verdict, attempts: &mut Attempts) -> Verdict {
        match verdict {
            Verdict::Stale(refused) if self.learn(&refused) => attempts.hop(),
            // The node is behind.
            Verdict::Stale(_) => attempts.next_replica(),
            verdict => verdict,
        }
    }

    /// Takes in what a node knows better; whether it was news.
    fn learn(&self, refused: &Refused) -> bool {
        let mut is_news = false;
        if let Some(table) = refused.table.clone() {
            match self.cache.put_table(table) {
                Ok(news) => is_news |= news,
                Err(error) => tracing::warn!(%error, "a node answered a table that cannot be decoded"),
            }
        }
        if let Some(descriptor) = refused.descriptor.clone() {
            match self.cache.put_partition(descriptor, Leadership::default()) {
                Ok(news) => is_news |= news,
                Err(error) => tracing::warn!(%error, "a node answered a partition that cannot be decoded"),
            }
        }
        is_news
    }

    /// A node said that the table is being deleted: which failure that is for the client.
    async fn gone(&self, table: &TableDescriptor, deadline: Instant) -> Failure {
        let said = self.look_up(&table.name, None, deadline.min(Instant::now() + FRESH_PATIENCE)).await;
        let is_there = self.cache.table(&table.name).is_some_and(|known| known.descriptor.id == table.id);
        match said {
            Ok(_) if !is_there => Failure::TableNotFound,
            Ok(_) | Err(_) => Failure::TableNotActive,
        }
    }
}

const NO_MAP: &str = "no answer from the partition map";
const NO_PARTITION: &str = "the partition map does not know the partition yet";

/// Whether requests on items may use a table of that status.
fn is_usable(status: TableStatus) -> bool {
    match status {
        TableStatus::Active | TableStatus::Updating => true,
        TableStatus::Creating | TableStatus::Deleting | TableStatus::Retained => false,
    }
}

/// The key to look up for a place.
fn probe(spot: Spot<'_>) -> Bytes {
    match spot {
        Spot::At(key) => key.clone(),
        Spot::Before(None) => BEYOND_ALL_KEYS,
        Spot::Before(Some(end)) => just_below(end),
    }
}

/// A byte string below `end` with few others between.
fn just_below(end: &Bytes) -> Bytes {
    let mut below = end.to_vec();
    match below.pop() {
        None | Some(0) => {}
        Some(last) => {
            below.push(last - 1);
            below.extend_from_slice(&BEYOND_ALL_KEYS);
        }
    }
    below.into()
}
