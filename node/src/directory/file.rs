//! What a node knows of the others, kept in its folder: it finds them again when all stop at once, with DNS and MemDS away.
//!
//! ```text
//! format (1 byte, 1) ‖ CRC-32C of the rest (4 bytes, big endian) ‖ the admin protocol's Directory, by node
//! ```
//! Hints, not state: a file that cannot be read is told and left alone until there is something newer to write. Addresses in
//! it may be old; the newest start number wins here as anywhere.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::oneshot;

use super::{Directory, DirectoryEntry};
use crate::context::Context;
use crate::disk::{Disk, DiskError};
use wire::error::describe;

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 5;
/// At most one write in this time: a cluster that starts is news many times a second.
const PACE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unreadable {
    #[error("it has format {0}")]
    OtherFormat(u8),
    #[error("it is damaged")]
    Damaged,
}

/// What was kept; nobody if the file is not there or cannot be read.
pub fn load(disk: &Disk) -> Result<Vec<DirectoryEntry>, DiskError> {
    let Some(bytes) = disk.read_directory()? else { return Ok(Vec::new()) };
    Ok(decode(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "the directory that was kept is not used");
        Vec::new()
    }))
}

/// Writes what is known, if that is not what stands there already.
pub fn save(disk: &Disk, directory: &Directory) -> Result<(), DiskError> {
    let bytes = encode(directory.others());
    if bytes.len() == HEAD_BYTES || disk.read_directory()?.is_some_and(|kept| kept == bytes) {
        return Ok(());
    }
    disk.write_directory(&bytes)
}

/// For as long as the node runs: what changed is kept, at the pace. What fails (a full disk) is tried again, and told once.
pub async fn keep(context: Arc<Context>) {
    let mut news = context.links.directory().watch();
    news.mark_changed();
    let mut failing = false;
    while news.changed().await.is_ok() {
        tokio::time::sleep(PACE).await;
        drop(news.borrow_and_update());
        match saved(&context).await {
            Some(Ok(())) => failing = false,
            Some(Err(error)) => {
                if !failing {
                    tracing::warn!(error = describe(&error), "failed to keep the directory");
                }
                failing = true;
                news.mark_changed();
            }
            None => news.mark_changed(),
        }
    }
}

/// On a thread that may wait for the disk; none if it has too much to do.
async fn saved(context: &Arc<Context>) -> Option<Result<(), DiskError>> {
    let (done, is_done) = oneshot::channel();
    let keeper = Arc::clone(context);
    // Nobody waits any more where the node is ending.
    context.background.submit_unless_busy(move || drop(done.send(save(&keeper.disk, keeper.links.directory()))));
    is_done.await.ok()
}

fn encode(entries: Vec<DirectoryEntry>) -> Vec<u8> {
    let entries = entries.into_iter().map(wire::admin::DirectoryEntry::from).collect();
    let body = wire::admin::Directory { entries }.encode_to_vec();
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<DirectoryEntry>, Unreadable> {
    let (format, rest) = bytes.split_first().ok_or(Unreadable::Damaged)?;
    if *format != FORMAT {
        return Err(Unreadable::OtherFormat(*format));
    }
    let (crc, body) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
    if u32::from_be_bytes(*crc) != crc32c::crc32c(body) {
        return Err(Unreadable::Damaged);
    }
    let directory = wire::admin::Directory::decode(body).ok().ok_or(Unreadable::Damaged)?;
    Ok(directory.entries.into_iter().map(DirectoryEntry::from).collect())
}

#[cfg(test)]
mod tests {
    use model::{NodeId, Zone};

    use super::*;

    fn entry(node: u64) -> DirectoryEntry {
        let zone = Zone("eu central 1b".to_owned());
        DirectoryEntry { node: NodeId(node), zone, address: format!("[::1]:{node}"), start_number: node << 40 }
    }

    #[test]
    fn what_is_known_of_others_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let directory = Directory::new(entry(1));
        save(&disk, &directory).unwrap();
        assert_eq!(disk.read_directory().unwrap(), None, "a node that knows nobody keeps nothing");
        directory.learn([entry(2), entry(3)]);
        save(&disk, &directory).unwrap();
        assert_eq!(load(&disk).unwrap(), [entry(2), entry(3)]);
    }

    #[test]
    fn a_file_of_another_format_or_damaged_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let bytes = encode(vec![entry(2)]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            disk.write_directory(&damaged).unwrap();
            assert_eq!(load(&disk).unwrap(), [], "byte {at}");
        }
        assert_eq!(decode(&[2, 0, 0, 0, 0]), Err(Unreadable::OtherFormat(2)));
        assert_eq!(decode(&bytes[..3]), Err(Unreadable::Damaged));
        assert_eq!(decode(&[]), Err(Unreadable::Damaged));
    }
}
