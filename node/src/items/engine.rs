//! RocksDB's settings, each with its reason in ARCHITECTURE.md ("What things cost").

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, ReadOptions, ReadTier, WriteBufferManager, WriteOptions,
};

use super::{ItemsError, ItemsOptions};

/// One memtable, if memory allows.
const MEMTABLE_BYTES: usize = 64 << 20;
const MEMTABLES: usize = 4;
/// Least memory for memtables to be worth a file.
const LEAST_MEMTABLE_BYTES: usize = 1 << 20;
/// A disk holds at least so many files.
const FILES_PER_DISK: u64 = 64;
/// Level 0 is compacted when it has so many files, each of a memtable, into a level of about the same size.
const LEVEL_0_FILES: u64 = 4;
const BLOCK_BYTES: usize = 4 << 10;
const BYTES_PER_SYNC: u64 = 512 << 10;
const BLOOM_BITS: f64 = 10.0;
/// A node that stops flushes by itself, and on a full disk it would wait for ever. There is no call for this one.
const NO_LAST_FLUSH: &str = "avoid_flush_during_shutdown=true";
/// How often the rate limiter gives out its budget.
const REFILL_US: i64 = 100_000;

/// Files of a snapshot are read by RocksDB as its own: the same blocks, filters and compression.
pub fn file_options(table: &BlockBasedOptions) -> Options {
    with_files(Options::default(), table)
}

fn with_files(mut options: Options, table: &BlockBasedOptions) -> Options {
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(table);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options
}

pub fn table_options() -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS, false);
    table.set_whole_key_filtering(true);
    table.set_format_version(5);
    table
}

/// RocksDB goes on after a flush had no room once there is room for a memtable.
pub fn flush_bytes(options: &ItemsOptions) -> u64 {
    u64::try_from(memtable_bytes(options)).unwrap_or(u64::MAX)
}

/// A file's size: a small part of the disk.
fn file_bytes(options: &ItemsOptions) -> usize {
    let most = usize::try_from(options.disk_bytes / FILES_PER_DISK).unwrap_or(usize::MAX);
    most.clamp(LEAST_MEMTABLE_BYTES, MEMTABLE_BYTES)
}

/// A memtable's size: a file's, if a quarter of what memtables may have is as much, and up to 12 % off by node.
fn memtable_bytes(options: &ItemsOptions) -> usize {
    let bytes = (options.memory_bytes / 2 / MEMTABLES).clamp(LEAST_MEMTABLE_BYTES, file_bytes(options));
    // 0..=24, by the id's upper bits: ids are random.
    let off = usize::try_from((options.seed >> 32) % 25).expect("below 25");
    bytes / 100 * (88 + off)
}

/// What the engine does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    Compacts,
    /// Files stay as they are: a damaged one is not met.
    Rests,
}

pub fn open(options: &ItemsOptions, background: Background) -> Result<DB, ItemsError> {
    let cache = Cache::new_hyper_clock_cache(options.memory_bytes, 0);
    let mut table = table_options();
    table.set_block_cache(&cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let opened = |source| ItemsError::Open { dir: options.dir.clone(), source };
    let mut db = with_files(Options::default().get_options_from_string(NO_LAST_FLUSH).map_err(opened)?, &table);
    db.create_if_missing(true);
    let memtable = memtable_bytes(options);
    db.set_write_buffer_size(memtable);
    db.set_max_write_buffer_number(i32::try_from(MEMTABLES).expect("four"));
    let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(memtable * MEMTABLES, false, cache);
    db.set_write_buffer_manager(&memtables);
    if options.background_bytes_per_s > 0 {
        let rate = i64::try_from(options.background_bytes_per_s).unwrap_or(i64::MAX);
        db.set_ratelimiter(rate, REFILL_US, 10);
    }
    db.set_allow_concurrent_memtable_write(options.concurrent_writers);
    db.set_enable_pipelined_write(false);
    db.set_level_compaction_dynamic_level_bytes(true);
    // A compaction takes as much room as what it reads, for a while: on a small disk levels and files are small, too.
    let file = u64::try_from(file_bytes(options)).unwrap_or(u64::MAX);
    db.set_level_zero_file_num_compaction_trigger(i32::try_from(LEVEL_0_FILES).expect("four"));
    db.set_max_bytes_for_level_base(file * LEVEL_0_FILES);
    db.set_target_file_size_base(file);
    db.set_max_background_jobs(2);
    db.set_keep_log_file_num(2);
    db.set_disable_auto_compactions(background == Background::Rests);
    DB::open(&db, &options.dir).map_err(opened)
}

/// No log of its own, and never a wait: a stall becomes back-pressure.
pub fn apply_options() -> WriteOptions {
    let mut options = WriteOptions::new();
    options.disable_wal(true);
    options.set_no_slowdown(true);
    options
}

/// For what is rare and may wait.
pub fn patient_options() -> WriteOptions {
    let mut options = WriteOptions::new();
    options.disable_wal(true);
    options
}

pub fn read_options(tier: ReadTier) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(tier);
    options
}

/// Everything in `bounds`, nothing beyond.
pub fn iterate_options(bounds: (Vec<u8>, Vec<u8>)) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(bounds.0);
    options.set_iterate_upper_bound(bounds.1);
    options
}

/// The same, for what is read once: the cache keeps what others read.
pub fn passing_options(bounds: (Vec<u8>, Vec<u8>)) -> ReadOptions {
    let mut options = iterate_options(bounds);
    options.fill_cache(false);
    options
}

pub fn exists(dir: &Path) -> bool {
    dir.join("CURRENT").exists()
}
