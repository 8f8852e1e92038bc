//! How many files are transferred at the same time.

use futures::future::try_join3;
use futures::stream::{self, StreamExt, TryStreamExt};
use registry_common::chunks;

use crate::Error;

/// Of large files: each has several chunks in memory.
const LARGE: usize = 4;
/// Of files that fit into a chunk: so many that they do not wait for each other's way to the disk.
const SMALL: usize = 32;
/// Of files that are kept in the store of records, which writes all at once that come together.
const TINY: usize = 128;

/// Does something with every file, several at once. Ends with the first error.
pub(crate) async fn each<T, F>(files: Vec<T>, size: impl Fn(&T) -> u64, work: impl Fn(T) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let (small, large): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| size(file) <= chunks::LARGEST as u64);
    let (tiny, small): (Vec<_>, Vec<_>) = small.into_iter().partition(|file| size(file) <= chunks::INLINE as u64);
    let run = |files: Vec<T>, at_once| {
        stream::iter(files).map(&work).buffer_unordered(at_once).try_for_each(async |()| Ok(()))
    };
    try_join3(run(tiny, TINY), run(small, SMALL), run(large, LARGE)).await?;
    Ok(())
}
