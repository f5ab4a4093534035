//! Read and write capacity units, counted as DynamoDB counts them, in half units so that they are exact integers.

/// Half units of a read of `bytes`: 1 RCU per 4 KB rounded up, half of that where eventually consistent; at least one step.
pub fn read_half_units(_bytes: usize, _consistent: bool) -> u64 {
    unimplemented!()
}

/// Half units of a write: the larger of the item before and after, 1 WCU per 1 KB rounded up, at least one unit.
pub fn write_half_units(_old_bytes: usize, _new_bytes: usize) -> u64 {
    unimplemented!()
}
