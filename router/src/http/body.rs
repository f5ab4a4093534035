//! The body of a request as it arrives: within its size, and not slower than a client may be.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use model::limits::REQUEST_BYTES;

/// A body that comes at this rate is waited for, however long it takes. Slower than any line that an SDK is used on; fast
/// enough that holding a body's memory has its price.
const SLOWEST_BYTES_PER_SECOND: usize = 16 * 1024;

/// Up to how many times what has come the claimed length is believed, and given room.
const TRUSTED: usize = 4;

/// Why a body was not read.
#[derive(Debug)]
pub enum NoBody {
    TooLarge,
    /// The client went away or broke the protocol; nobody reads an answer.
    Broken,
    Late,
}

/// The whole body within the limit; thrown away as it comes unless it is to be kept. Nothing is waited for after `first_by`,
/// but for what a slow client has earned by what it sent.
pub async fn read(mut body: Body, length: Option<usize>, keep: bool, first_by: Instant) -> Result<Bytes, NoBody> {
    let mut seen = 0;
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let next_by = |seen| tokio::time::Instant::from_std(next_by(first_by, seen));
    while let Some(frame) =
        tokio::time::timeout_at(next_by(seen), body.frame()).await.map_err(|_elapsed| NoBody::Late)?
    {
        let Ok(data) = frame.map_err(|_gone| NoBody::Broken)?.into_data() else {
            continue;
        };
        seen += data.len();
        if seen > REQUEST_BYTES {
            return Err(NoBody::TooLarge);
        }
        if !keep {
            continue;
        }
        match &first {
            None => first = Some(data),
            Some(begun) => {
                if rest.is_empty() {
                    // A length may be claimed that never comes.
                    rest.reserve(length.unwrap_or(0).min(TRUSTED * seen).max(seen));
                    rest.extend_from_slice(begun);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
}

/// When the next bytes must be there, after `seen` of them.
fn next_by(first_by: Instant, seen: usize) -> Instant {
    let earned_seconds = seen / SLOWEST_BYTES_PER_SECOND;
    first_by + Duration::from_secs(u64::try_from(earned_seconds).expect("a body has not so many bytes"))
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    #[test]
    fn a_client_earns_time_by_what_it_sends() {
        let first_by = Instant::now();
        assert_eq!(next_by(first_by, 0), first_by);
        assert_eq!(next_by(first_by, SLOWEST_BYTES_PER_SECOND - 1), first_by);
        assert_eq!(next_by(first_by, 10 * SLOWEST_BYTES_PER_SECOND), first_by + Duration::from_secs(10));
    }

    /// Pieces that are there at once, or after the runtime had its turn.
    fn body(pieces: Vec<(bool, usize)>) -> Body {
        let pieces = stream::iter(pieces).then(|(at_once, length)| async move {
            if !at_once {
                tokio::task::yield_now().await;
            }
            Ok::<_, std::io::Error>(Bytes::from(vec![b' '; length]))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test]
    async fn a_slow_body_is_read_and_a_stalled_one_is_not() {
        // Nobody waits any more but for who has earned it.
        let first_by = Instant::now();
        let earned = 100 * SLOWEST_BYTES_PER_SECOND;
        let slow = read(body(vec![(true, earned), (false, 1)]), None, true, first_by).await.unwrap();
        assert_eq!(slow.len(), earned + 1);
        let stalled = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let stalled = read(stalled, None, true, first_by).await;
        assert!(matches!(stalled, Err(NoBody::Late)), "{stalled:?}");
    }
}
