//! Writing: what groups apply, and the records they are born with.
//!
//! A child's records are written with the batch that applies its parent's split, unless the engine has records of that group:
//! it is not set back to its birth, whatever brings the split here late or again.

use bytes::Bytes;
use model::item::{RecordHeader, decode_record, encode_record};
use model::{PartitionId, ReplicaId, TableId};
use replica::entry::WriteKind;
use replica::{AppliedWrite, ApplyBatch, Child, GroupState};
use rocksdb::{ErrorKind, WriteBatch};

use super::keys::{RecordKind, item_key, record_key, write_item_key};
use wire::error::describe;

use super::{GroupRecords, Items, ItemsError, TurnBatch, WriteOutcome, failed, is_no_room, malformed_record};

impl Items {
    /// All or nothing, without waiting.
    pub fn write(&self, turn: &TurnBatch) -> Result<WriteOutcome, ItemsError> {
        let mut batch = WriteBatch::default();
        let mut key = Vec::new();
        let _records = turn.has_children().then(|| self.lock_records());
        for (partition, table, applied) in &turn.groups {
            let mut add = || -> Result<(), ItemsError> {
                for at in 0..applied.writes.len() {
                    self.add_write(*table, applied, at, &mut key, &mut batch)?;
                }
                applied.children.iter().try_for_each(|child| self.add_child(child, &mut batch))
            };
            match add() {
                Ok(()) => (),
                Err(error) if error.is_corrupt() => {
                    tracing::error!(%partition, error = describe(&error), "failed to read what a group's writes change");
                    return Ok(WriteOutcome::Unreadable(*partition));
                }
                Err(error) => return Err(error),
            }
            batch.put(record_key(*partition, RecordKind::Mark), &applied.mark);
            if let Some(state) = &applied.state {
                batch.put(record_key(*partition, RecordKind::State), state);
            }
        }
        match self.inner.db.write_opt(batch, &self.inner.apply) {
            Ok(()) => Ok(WriteOutcome::Written),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(WriteOutcome::Stalled),
            Err(error) if is_no_room(&error) => Ok(WriteOutcome::NoRoom),
            Err(source) => Err(ItemsError::Engine { verb: "write", source }),
        }
    }

    fn add_child(&self, child: &Child, batch: &mut WriteBatch) -> Result<(), ItemsError> {
        let partition = child.descriptor.id;
        if self.group(partition)?.state.is_none() {
            batch.put(record_key(partition, RecordKind::Mark), &child.mark);
            batch.put(record_key(partition, RecordKind::State), &child.state);
        }
        Ok(())
    }

    /// Takes a group's records away where they are that replica's: its child was born here too late.
    pub fn drop_records(&self, partition: PartitionId, replica: ReplicaId) -> Result<(), ItemsError> {
        let _records = self.lock_records();
        let Some(state) = self.group(partition)?.state else { return Ok(()) };
        let malformed = |source| ItemsError::Decode { what: "group state", source };
        if GroupState::decode(state).map_err(malformed)?.replica != replica {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        batch.delete(record_key(partition, RecordKind::Mark));
        batch.delete(record_key(partition, RecordKind::State));
        self.inner.db.write_opt(batch, &self.inner.patient).map_err(failed("take a group's records from"))
    }

    fn add_write(
        &self,
        table: TableId,
        applied: &ApplyBatch,
        at: usize,
        key: &mut Vec<u8>,
        batch: &mut WriteBatch,
    ) -> Result<(), ItemsError> {
        let write = &applied.writes[at];
        write_item_key(table, write.space, &write.key, key);
        match write.kind {
            WriteKind::Put => batch.put(key, encode_record(header(write), &write.attributes)),
            WriteKind::Delete => batch.delete(key),
            WriteKind::Touch => {
                if let Some(record) = self.touched(table, applied, at)? {
                    batch.put(key, record);
                }
            }
        }
        Ok(())
    }

    /// The item as it is after the writes before `at` of its group, with a raised version timestamp; none if there is none.
    fn touched(&self, table: TableId, batch: &ApplyBatch, at: usize) -> Result<Option<Vec<u8>>, ItemsError> {
        let touch = &batch.writes[at];
        let same = |write: &&AppliedWrite| write.space == touch.space && write.key == touch.key;
        let mut version_timestamp_us = touch.version_timestamp_us;
        for write in batch.writes[..at].iter().filter(same).rev() {
            match write.kind {
                WriteKind::Put => return Ok(Some(raised(header(write), version_timestamp_us, &write.attributes))),
                WriteKind::Delete => return Ok(None),
                // The earlier touch is not in the engine yet.
                WriteKind::Touch => version_timestamp_us = version_timestamp_us.max(write.version_timestamp_us),
            }
        }
        let key = item_key(table, touch.space, &touch.key);
        let Some(record) = self.inner.db.get_pinned(key).map_err(failed("read"))? else { return Ok(None) };
        let (header, attributes) = decode_record(&Bytes::copy_from_slice(&record)).map_err(malformed_record)?;
        Ok(Some(raised(header, version_timestamp_us, &attributes)))
    }

    /// The records with which groups are born, durable when it returns.
    pub fn put_groups(&self, groups: &[GroupRecords]) -> Result<(), ItemsError> {
        self.put_records(groups)?;
        self.flush()
    }

    /// The same, instead of whatever records they have.
    pub fn replace_groups(&self, groups: &[GroupRecords]) -> Result<(), ItemsError> {
        let records = self.lock_records();
        self.put_records(groups)?;
        drop(records);
        self.flush()
    }

    fn put_records(&self, groups: &[GroupRecords]) -> Result<(), ItemsError> {
        let mut puts = Vec::new();
        for GroupRecords { partition, mark, state } in groups {
            puts.extend(mark.iter().map(|mark| (record_key(*partition, RecordKind::Mark), mark.to_vec())));
            puts.extend(state.iter().map(|state| (record_key(*partition, RecordKind::State), state.to_vec())));
        }
        self.put_patiently("write a group's records to", puts)
    }

    pub(super) fn put_patiently(
        &self,
        verb: &'static str,
        puts: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), ItemsError> {
        let mut batch = WriteBatch::default();
        for (key, value) in puts {
            batch.put(key, value);
        }
        self.inner.db.write_opt(batch, &self.inner.patient).map_err(failed(verb))
    }
}

fn raised(header: RecordHeader, version_timestamp_us: u64, attributes: &[u8]) -> Vec<u8> {
    let version_timestamp_us = header.version_timestamp_us.max(version_timestamp_us);
    encode_record(RecordHeader { version_timestamp_us, ..header }, attributes)
}

fn header(write: &AppliedWrite) -> RecordHeader {
    RecordHeader { flags: 0, version_timestamp_us: write.version_timestamp_us, log_position: write.index }
}
