//! DynamoDB's limits, with their numbers and their source (Developer Guide, "Quotas in Amazon DynamoDB").

/// Largest item, names included, in bytes.
pub const ITEM_BYTES: usize = 400 * 1024;
/// Deepest nesting of lists and maps.
pub const NESTING_LEVELS: usize = 32;
