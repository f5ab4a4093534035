//! How much memory requests' bodies may take at once. Small ones have a part of their own, so that a few clients with large
//! bodies that they never send keep nobody else waiting.

use model::limits::REQUEST_BYTES;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Memory is counted in pages of this size, so that a semaphore can count it.
const PAGE: usize = 1024;
/// A small body: most requests fit, and it takes thousands of them to fill the part of the small ones.
const SMALL_BYTES: usize = 16 * 1024;
/// The part of the memory that only small bodies may take: one of so many.
const SMALL_PART: usize = 4;

pub struct BodyMemory {
    small: Semaphore,
    large: Semaphore,
    large_pages: usize,
}

impl BodyMemory {
    /// Memory for `most_bytes`, but room for one body of each kind at least, or none could ever be read.
    pub fn new(most_bytes: usize) -> BodyMemory {
        let most_bytes = most_bytes.min(Semaphore::MAX_PERMITS);
        let small_bytes = (most_bytes / SMALL_PART).max(SMALL_BYTES);
        let large_pages = most_bytes.saturating_sub(small_bytes).max(REQUEST_BYTES).div_ceil(PAGE);
        BodyMemory {
            small: Semaphore::new(small_bytes.div_ceil(PAGE)),
            large: Semaphore::new(large_pages),
            large_pages,
        }
    }

    /// Waits for room for a body of `length`, at most a request's; one that does not tell its length may be the largest.
    pub async fn acquire(&self, length: Option<usize>) -> Result<SemaphorePermit<'_>, AcquireError> {
        let length = length.unwrap_or(REQUEST_BYTES);
        let pages = u32::try_from(length.div_ceil(PAGE).min(self.large_pages)).unwrap_or(u32::MAX);
        let part = if length <= SMALL_BYTES { &self.small } else { &self.large };
        part.acquire_many(pages).await
    }
}
