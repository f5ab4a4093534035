//! The items on a real RocksDB.
