//! DynamoDB's limits, with their numbers and their source (Developer Guide, "Quotas in Amazon DynamoDB").
//!
//! One table for all rooms: a limit that a client can meet is checked against its constant here and nowhere written
//! again. "Quotas" is the page named above; other sources are named where they are used.

// Items and attributes.

/// Largest item, names included, in bytes (Quotas, "Items").
pub const ITEM_BYTES: usize = 400 * 1024;
/// Deepest nesting of lists and maps, in levels (Quotas, "Attributes").
pub const NESTING_LEVELS: usize = 32;
/// Shortest partition key value, in bytes (Quotas, "Partition keys and sort keys").
pub const PARTITION_KEY_MIN_BYTES: usize = 1;
/// Longest partition key value, in bytes (Quotas, "Partition keys and sort keys").
pub const PARTITION_KEY_BYTES: usize = 2048;
/// Shortest sort key value, in bytes (Quotas, "Partition keys and sort keys").
pub const SORT_KEY_MIN_BYTES: usize = 1;
/// Longest sort key value, in bytes (Quotas, "Partition keys and sort keys").
pub const SORT_KEY_BYTES: usize = 1024;
/// Longest attribute name, in bytes (Quotas, "Naming rules": at least one character, under 64 KB).
pub const ATTRIBUTE_NAME_BYTES: usize = 65_535;
/// Longest name of a key attribute or of a projected one, in bytes (Quotas, "Naming rules").
pub const KEY_ATTRIBUTE_NAME_BYTES: usize = 255;

// Numbers.

/// Most significant digits of a number (Developer Guide, "Supported data types", "Number").
pub const NUMBER_DIGITS: u32 = 38;
/// Power of ten of the largest number's first digit: 9.99…E+125 (the same page).
pub const NUMBER_MAX_EXPONENT: i16 = 125;
/// Power of ten of the smallest number's first digit: 1E-130 (the same page).
pub const NUMBER_MIN_EXPONENT: i16 = -130;

// Tables and indexes.

/// Shortest name of a table or index, in characters (Quotas, "Naming rules").
pub const TABLE_NAME_MIN_CHARS: usize = 3;
/// Longest name of a table or index, in characters (Quotas, "Naming rules").
pub const TABLE_NAME_CHARS: usize = 255;
/// Most tables of one account and region, default quota (Quotas, "Tables").
pub const TABLES: usize = 2500;
/// Most control-plane operations under way at once (Quotas, "API-specific limits").
pub const CONCURRENT_CONTROL_OPERATIONS: usize = 500;
/// Most local secondary indexes of a table (Quotas, "Secondary indexes").
pub const LOCAL_INDEXES: usize = 5;
/// Most global secondary indexes of a table, default quota (Quotas, "Secondary indexes").
pub const GLOBAL_INDEXES: usize = 20;
/// Most non-key attributes projected by all indexes of a table (Quotas, "Secondary indexes").
pub const PROJECTED_ATTRIBUTES: usize = 100;
/// Largest item collection of a table with local indexes, in bytes (Quotas, "Item collections").
pub const ITEM_COLLECTION_BYTES: u64 = 10 * 1024 * 1024 * 1024;
/// Most tags of a table (Quotas, "Tagging restrictions").
pub const TAGS: usize = 50;
/// Longest key of a tag, in characters (API reference, `Tag`).
pub const TAG_KEY_CHARS: usize = 128;
/// Longest value of a tag, in characters (API reference, `Tag`).
pub const TAG_VALUE_CHARS: usize = 256;

// Expressions.

/// Longest expression text, in bytes (Quotas, "Expression parameters").
pub const EXPRESSION_BYTES: usize = 4096;
/// Longest placeholder of a name or value, in bytes (Quotas, "Expression parameters").
pub const PLACEHOLDER_BYTES: usize = 255;
/// All substitution variables of one expression together, in bytes (Quotas, "Expression parameters").
pub const SUBSTITUTION_BYTES: usize = 2 * 1024 * 1024;
/// Most operators and functions of one expression (Quotas, "Expression parameters").
pub const EXPRESSION_OPERATORS: usize = 300;
/// Most operands of `IN` (Quotas, "Expression parameters").
pub const IN_OPERANDS: usize = 100;
/// Most elements of a document path (AWS answers "too many nesting levels" beyond them).
pub const PATH_ELEMENTS: usize = 32;

// Requests.

/// Largest body of a request, in bytes (Developer Guide, "DynamoDB low-level API": 413 beyond it).
pub const REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// Most keys of BatchGetItem (API reference, `BatchGetItem`).
pub const BATCH_GET_KEYS: usize = 100;
/// Largest answer of BatchGetItem, in bytes (API reference, `BatchGetItem`).
pub const BATCH_GET_BYTES: usize = 16 * 1024 * 1024;
/// Most requests of BatchWriteItem (API reference, `BatchWriteItem`).
pub const BATCH_WRITE_REQUESTS: usize = 25;
/// Largest BatchWriteItem, in bytes (API reference, `BatchWriteItem`).
pub const BATCH_WRITE_BYTES: usize = 16 * 1024 * 1024;
/// Largest page of Query and Scan before the filter, in bytes (Quotas, "API-specific limits").
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Smallest `Limit` of Query and Scan (API reference, `Query`).
pub const PAGE_LIMIT_MIN: i64 = 1;
/// Most segments of a parallel Scan (API reference, `Scan`).
pub const SCAN_SEGMENTS: i64 = 1_000_000;
/// Largest `Limit` of ListTables (API reference, `ListTables`).
pub const LIST_TABLES_LIMIT: usize = 100;
/// Most actions of TransactWriteItems and TransactGetItems (API reference, `TransactWriteItems`).
pub const TRANSACTION_ACTIONS: usize = 100;
/// All items of one transaction together, in bytes (API reference, `TransactWriteItems`).
pub const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// Longest `ClientRequestToken`, in characters; the shortest has one (API reference, `TransactWriteItems`).
pub const CLIENT_REQUEST_TOKEN_CHARS: usize = 36;
/// How long a `ClientRequestToken` stands, in seconds (API reference, `TransactWriteItems`: 10 minutes).
pub const CLIENT_REQUEST_TOKEN_S: u64 = 10 * 60;
/// Longest PartiQL statement, in bytes (API reference, `ExecuteStatement`).
pub const STATEMENT_BYTES: usize = 8192;
/// Most statements of BatchExecuteStatement (API reference, `BatchExecuteStatement`).
pub const BATCH_STATEMENTS: usize = 25;

// Units and throttling.

/// What one read unit reads, in bytes (Quotas, "Capacity units").
pub const READ_UNIT_BYTES: usize = 4096;
/// What one write unit writes, in bytes (Quotas, "Capacity units").
pub const WRITE_UNIT_BYTES: usize = 1024;
/// How many times the units of a plain operation a transactional one costs (Quotas, "Capacity units").
pub const TRANSACTION_UNITS_FACTOR: u64 = 2;
/// Read units a second of one partition (Developer Guide, "Burst and adaptive capacity").
pub const PARTITION_READ_UNITS: u64 = 3000;
/// Write units a second of one partition (Developer Guide, "Burst and adaptive capacity").
pub const PARTITION_WRITE_UNITS: u64 = 1000;
/// Size at which a partition is split, in bytes (Developer Guide, "Partitions and data distribution").
pub const PARTITION_BYTES: u64 = 10 * 1024 * 1024 * 1024;
/// How much unused capacity a partition keeps for bursts, in seconds (Developer Guide, "Burst and adaptive capacity").
pub const BURST_S: u64 = 300;
/// Read units a second of a new on-demand table (Developer Guide, "On-demand capacity mode").
pub const ON_DEMAND_READ_UNITS: u64 = 12_000;
/// Write units a second of a new on-demand table (Developer Guide, "On-demand capacity mode").
pub const ON_DEMAND_WRITE_UNITS: u64 = 4000;
/// How far above its previous peak an on-demand table may go at once (Developer Guide, "On-demand capacity mode").
pub const ON_DEMAND_PEAK_FACTOR: u64 = 2;
/// Read units a second of a table, default quota (Quotas, "Throughput default quotas").
pub const TABLE_READ_UNITS: u64 = 40_000;
/// Write units a second of a table, default quota (Quotas, "Throughput default quotas").
pub const TABLE_WRITE_UNITS: u64 = 40_000;

// Streams.

/// How long a stream keeps its records, in seconds (Developer Guide, "DynamoDB Streams": 24 hours).
pub const STREAM_RETENTION_S: u64 = 24 * 60 * 60;
