//! Not there yet.

use super::Call;
use crate::backend::Backend;
use crate::error::Error;

#[expect(clippy::unused_async, reason = "the other operations are asynchronous")]
pub async fn run<B: Backend>(_call: &mut Call<'_, B>, _body: &[u8]) -> Result<Vec<u8>, Error> {
    Err(Error::UnknownOperation)
}
