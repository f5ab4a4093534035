//! One turn's writes, packed into log entries.

use bytes::Bytes;

use crate::entry::{Body, Cause, ENTRY_OVERHEAD, LogEntry, SPACE_ITEMS, WRITE_OVERHEAD, Write, WriteKind};
use crate::eraftpb::Entry;
use crate::{Answer, Token, WriteRequest};

pub(crate) struct Batch {
    term: u64,
    time_us: u64,
    first_index: u64,
    entry_bytes: usize,
    full: Vec<Entry>,
    open: Vec<Write>,
    open_bytes: usize,
    /// Everything, by the bound of its encoding.
    bytes: usize,
    answers: Vec<(u64, Token, Answer)>,
}

impl Batch {
    pub(crate) fn new(term: u64, time_us: u64, first_index: u64, entry_bytes: usize) -> Batch {
        Batch {
            term,
            time_us,
            first_index,
            entry_bytes,
            full: Vec::new(),
            open: Vec::new(),
            open_bytes: 0,
            bytes: 0,
            answers: Vec::new(),
        }
    }

    pub(crate) fn first_index(&self) -> u64 {
        self.first_index
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// No encoding of this write, with its entry, is longer.
    pub(crate) fn bytes_of(request: &WriteRequest, after: Option<&Bytes>) -> usize {
        let strings = request.key.len() + request.request_id.len() + after.map_or(0, Bytes::len);
        ENTRY_OVERHEAD + WRITE_OVERHEAD + strings
    }

    /// Returns the index of the entry that it is in.
    pub(crate) fn push(
        &mut self,
        request: WriteRequest,
        kind: WriteKind,
        after: Option<Bytes>,
        token: Token,
        answer: Answer,
    ) -> u64 {
        let write = Write {
            space: SPACE_ITEMS,
            kind,
            cause: Cause::User,
            version_timestamp_us: self.time_us,
            key: request.key,
            request_id: request.request_id,
            after,
            old: None,
            transaction: None,
        };
        let bytes = write.size_bound();
        if !self.open.is_empty() && self.open_bytes + bytes > self.entry_bytes {
            self.close();
        }
        self.open.push(write);
        self.open_bytes += bytes;
        self.bytes += bytes + ENTRY_OVERHEAD;
        let index = self.first_index + self.full.len() as u64;
        self.answers.push((index, token, answer));
        index
    }

    fn close(&mut self) {
        let writes = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        let body = Body::Writes(writes);
        let entry = LogEntry { evaluation_term: self.term, commit_time_us: self.time_us, body };
        self.full.push(raft_entry(&entry));
    }

    pub(crate) fn into_entries(mut self) -> (Vec<Entry>, Vec<(u64, Token, Answer)>) {
        if !self.open.is_empty() {
            self.close();
        }
        (self.full, self.answers)
    }
}

pub(crate) fn raft_entry(entry: &LogEntry) -> Entry {
    Entry { data: entry.encode(), ..Entry::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::put;

    fn written() -> Answer {
        Answer::Written { old: None, new: None, old_size: 0, new_size: 0 }
    }

    #[test]
    fn small_writes_share_an_entry_and_a_large_one_travels_alone() {
        let mut batch = Batch::new(7, 1_000, 21, 600);
        let small = || Some(Bytes::from_static(b"small"));
        let large = Some(Bytes::from(vec![b'x'; 2_000]));
        let mut push = |after, token| batch.push(put("k", "v"), WriteKind::Put, after, Token(token), written());
        assert_eq!(push(small(), 1), 21);
        assert_eq!(push(small(), 2), 21);
        assert_eq!(push(large, 3), 22);
        assert_eq!(push(small(), 4), 23);
        let (entries, answers) = batch.into_entries();
        assert_eq!(answers.iter().map(|(index, ..)| *index).collect::<Vec<_>>(), [21, 21, 22, 23]);
        let counts = entries.into_iter().map(|entry| match LogEntry::decode(entry.data).unwrap().body {
            Body::Writes(writes) => writes.len(),
            other => panic!("not writes: {other:?}"),
        });
        assert_eq!(counts.collect::<Vec<_>>(), [2, 1, 1]);
    }
}
