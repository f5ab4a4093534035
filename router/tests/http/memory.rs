//! A backend in memory: what `Routing` promises, done with `model`'s own functions on ordered maps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use model::expression::{Condition, Projection, Update};
use model::item::{attributes_size, decode_attributes, encode_attributes};
use model::limits::ITEM_BYTES;
use model::value::item_size;
use model::{BillingMode, Item, TableDescriptor, TableId, TableStatus, Throughput};
use router::backend::Backend;
use router::routing::{
    ControlCode, Failure, ScanPage, ScanRequest, TableSize, TableUpdate, WriteAction, WriteOutcome, WriteRequest,
};

type Items = BTreeMap<Bytes, Bytes>;

#[derive(Default)]
struct State {
    tables: BTreeMap<String, (Arc<TableDescriptor>, Items)>,
    next_id: u64,
    /// Answers of the next reads and writes of items, instead of doing them.
    failures: Vec<Failure>,
    /// Status that new tables get.
    stay_creating: bool,
    /// Gets never end; each says so when it begins and when it is given up.
    hang: Option<tokio::sync::watch::Sender<i32>>,
}

#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The next reads and writes of items fail with these, in order.
    pub fn fail_next(&self, failures: impl IntoIterator<Item = Failure>) {
        let mut failures: Vec<Failure> = failures.into_iter().collect();
        failures.reverse();
        self.state().failures = failures;
    }

    /// New tables stay CREATING.
    pub fn stay_creating(&self) {
        self.state().stay_creating = true;
    }

    /// Gets hang from now on; the channel tells how many do.
    pub fn hang(&self) -> tokio::sync::watch::Receiver<i32> {
        let (sender, receiver) = tokio::sync::watch::channel(0);
        self.state().hang = Some(sender);
        receiver
    }

    fn items(&self, table: &TableDescriptor) -> Result<(MutexGuard<'_, State>, String), Failure> {
        let mut state = self.state();
        if let Some(failure) = state.failures.pop() {
            return Err(failure);
        }
        if state.tables.contains_key(&table.name) {
            Ok((state, table.name.clone()))
        } else {
            Err(Failure::TableNotFound)
        }
    }
}

/// Counts one that hangs, until it is dropped.
struct GivenUp(tokio::sync::watch::Sender<i32>);

impl GivenUp {
    fn new(hanging: tokio::sync::watch::Sender<i32>) -> GivenUp {
        hanging.send_modify(|count| *count += 1);
        GivenUp(hanging)
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

fn control(code: ControlCode, message: &str) -> Failure {
    Failure::Control { code, message: message.to_owned() }
}

impl Backend for Memory {
    async fn table(&self, name: &str, _deadline: Instant) -> Result<Arc<TableDescriptor>, Failure> {
        self.state().tables.get(name).map(|(table, _)| Arc::clone(table)).ok_or(Failure::TableNotFound)
    }

    async fn get(
        &self,
        table: &Arc<TableDescriptor>,
        key: Bytes,
        _consistent: bool,
        _deadline: Instant,
    ) -> Result<Option<Bytes>, Failure> {
        let hang = self.state().hang.clone();
        if let Some(hanging) = hang {
            let _given_up = GivenUp::new(hanging);
            std::future::pending::<()>().await;
        }
        let (state, name) = self.items(table)?;
        Ok(state.tables[&name].1.get(&key).cloned())
    }

    async fn write(
        &self,
        table: &Arc<TableDescriptor>,
        request: WriteRequest,
        _deadline: Instant,
    ) -> Result<WriteOutcome, Failure> {
        let (mut state, name) = self.items(table)?;
        let items = &mut state.tables.get_mut(&name).unwrap().1;
        Ok(write(items, request))
    }

    async fn scan(
        &self,
        table: &Arc<TableDescriptor>,
        request: ScanRequest,
        _deadline: Instant,
    ) -> Result<ScanPage, Failure> {
        let (state, name) = self.items(table)?;
        Ok(scan(&state.tables[&name].1, &request))
    }

    async fn list_tables(
        &self,
        exclusive_start: &str,
        limit: u32,
        _deadline: Instant,
    ) -> Result<(Vec<String>, bool), Failure> {
        let state = self.state();
        let mut names: Vec<String> =
            state.tables.keys().filter(|name| name.as_str() > exclusive_start).cloned().collect();
        let limit = usize::try_from(limit).unwrap();
        let more = names.len() > limit;
        names.truncate(limit);
        Ok((names, more))
    }

    async fn table_size(&self, table: &TableDescriptor, _deadline: Instant) -> Result<TableSize, Failure> {
        let state = self.state();
        let items = &state.tables[&table.name].1;
        let bytes = items.values().map(|item| attributes_size(item).unwrap() as u64).sum();
        Ok(TableSize { items: items.len() as u64, bytes })
    }

    async fn create_table(&self, wish: TableDescriptor, _deadline: Instant) -> Result<TableDescriptor, Failure> {
        let mut state = self.state();
        if state.tables.contains_key(&wish.name) {
            let message = format!("Table already exists: {}", wish.name);
            return Err(control(ControlCode::ResourceInUse, &message));
        }
        state.next_id += 1;
        let created = TableDescriptor {
            id: TableId(state.next_id),
            version: 1,
            hash_seed: 17 * state.next_id,
            created_ms: 1_371_269_370_123,
            status: TableStatus::Creating,
            ..wish
        };
        let status = if state.stay_creating { TableStatus::Creating } else { TableStatus::Active };
        let kept = TableDescriptor { status, ..created.clone() };
        state.tables.insert(created.name.clone(), (Arc::new(kept), Items::new()));
        Ok(created)
    }

    async fn update_table(
        &self,
        name: &str,
        update: TableUpdate,
        _deadline: Instant,
    ) -> Result<TableDescriptor, Failure> {
        let mut state = self.state();
        let (table, _) = state.tables.get_mut(name).ok_or(Failure::TableNotFound)?;
        let mut changed = TableDescriptor::clone(table);
        changed.version += 1;
        if let Some(pay_per_request) = update.pay_per_request {
            changed.billing = if pay_per_request { BillingMode::PayPerRequest } else { BillingMode::Provisioned };
            if pay_per_request {
                changed.throughput = Throughput::default();
                changed.last_on_demand_ms = 1_371_269_370_123;
            }
        }
        if let Some((read_units, write_units)) = update.throughput {
            changed.throughput = Throughput { read_units, write_units };
        }
        changed.deletion_protection = update.deletion_protection.unwrap_or(changed.deletion_protection);
        changed.table_class = update.table_class.unwrap_or(changed.table_class);
        *table = Arc::new(changed.clone());
        Ok(changed)
    }

    async fn delete_table(&self, name: &str, _deadline: Instant) -> Result<TableDescriptor, Failure> {
        let mut state = self.state();
        let (table, _) = state.tables.get(name).ok_or(Failure::TableNotFound)?;
        if table.deletion_protection {
            return Err(control(
                ControlCode::Validation,
                "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.",
            ));
        }
        let deleted = TableDescriptor { status: TableStatus::Deleting, ..TableDescriptor::clone(table) };
        state.tables.remove(name);
        Ok(deleted)
    }
}

fn write(items: &mut Items, request: WriteRequest) -> WriteOutcome {
    let old = items.get(&request.key).cloned();
    let old_item = old.as_ref().map(|bytes| decode_attributes(bytes).unwrap());
    let old_size = size(old.as_ref());
    if let Some(condition) = request.condition {
        let condition = Condition::decode(condition).unwrap();
        if !condition.matches(old_item.as_ref().unwrap_or(&Item::new())) {
            return WriteOutcome::ConditionFailed { old: old.filter(|_| request.return_old_on_failure), old_size };
        }
    }
    let new = match request.action {
        WriteAction::Put(bytes) => Some(bytes),
        WriteAction::Delete => None,
        WriteAction::Update { key_attributes, update } => {
            let before = old_item.unwrap_or_else(|| decode_attributes(&key_attributes).unwrap());
            let after = match update.map(|update| Update::decode(update).unwrap().apply(&before)) {
                None => before,
                Some(Ok(after)) => after,
                Some(Err(error)) => return WriteOutcome::Invalid(error.0),
            };
            if item_size(&after) > ITEM_BYTES {
                return WriteOutcome::Invalid("Item size to update has exceeded the maximum allowed size".to_owned());
            }
            Some(Bytes::from(encode_attributes(&after)))
        }
    };
    match &new {
        Some(bytes) => drop(items.insert(request.key, bytes.clone())),
        None => drop(items.remove(&request.key)),
    }
    let new_size = size(new.as_ref());
    WriteOutcome::Applied {
        old: old.filter(|_| request.return_old),
        new: new.filter(|_| request.return_new),
        old_size,
        new_size,
    }
}

fn size(bytes: Option<&Bytes>) -> u32 {
    bytes.map_or(0, |bytes| u32::try_from(attributes_size(bytes).unwrap()).unwrap())
}

fn scan(items: &Items, request: &ScanRequest) -> ScanPage {
    let filter = request.filter.clone().map(|bytes| Condition::decode(bytes).unwrap());
    let projection = request.projection.clone().map(|bytes| Projection::decode(bytes).unwrap());
    let within = items.iter().filter(|(key, _)| request.range.contains(key));
    let in_order: Vec<(&Bytes, &Bytes)> = if request.backward { within.rev().collect() } else { within.collect() };
    let mut page = ScanPage::default();
    for (key, bytes) in in_order {
        let item = decode_attributes(bytes).unwrap();
        page.scanned_count += 1;
        page.scanned_bytes += item_size(&item) as u64;
        if filter.as_ref().is_none_or(|filter| filter.matches(&item)) {
            page.count += 1;
            if !request.count_only {
                let shown = projection.as_ref().map_or(item.clone(), |projection| projection.project(&item));
                page.items.push(Bytes::from(encode_attributes(&shown)));
            }
        }
        let full = page.scanned_count == request.limit || page.scanned_bytes >= u64::from(request.limit_bytes);
        if full {
            page.last_key = Some(key.clone());
            break;
        }
    }
    page
}
