//! The streams of this crate.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _};

use crate::Error;

/// Items as they come: of a [list](crate::Call::stream), of a [watch](crate::Watch::stream), or the bytes of a
/// [download](crate::Download::stream).
///
/// It is a [`Stream`](futures::Stream), with the methods that most programs need of their own. Nothing is lost if one of these is
/// dropped before it is done, for example in `tokio::select!`.
#[must_use = "nothing is asked for before an item is"]
pub struct Items<T>(BoxStream<'static, Result<T, Error>>);

impl<T> Items<T> {
    pub(crate) fn new(stream: impl Stream<Item = Result<T, Error>> + Send + 'static) -> Self {
        Self(stream.boxed())
    }

    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.0.next().await
    }

    /// The same, the other way round: so that `?` passes an error on.
    ///
    /// # Errors
    /// What ended the stream.
    pub async fn try_next(&mut self) -> Result<Option<T>, Error> {
        self.0.try_next().await
    }

    /// All that is left. Never returns of a watch, unless that fails.
    ///
    /// # Errors
    /// What ended the stream.
    pub async fn try_collect<C: Default + Extend<T>>(self) -> Result<C, Error> {
        self.0.try_collect().await
    }
}

impl<T> Stream for Items<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}
