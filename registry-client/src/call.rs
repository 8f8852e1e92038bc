//! Unary calls: what is set before they are made, and how they are made.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use futures::stream::{self, TryStreamExt};
use registry_proto::rpc::{Mutating, Paged, Request, Unary};
use uuid::Uuid;

use crate::{Error, Items, RegistryClient};

/// A call that has not been made yet: set what is optional, then `.await` it.
///
/// The methods that are there depend on the request. Every mutation has [`request_id`](Self::request_id) and
/// [`validate_only`](Self::validate_only); every list has [`stream`](Call::stream) for all of its items, while `.await`
/// answers one page.
///
/// While the registry is unavailable, a call waits for it [as long as the client does](crate::Builder::retry_for). It can be dropped at
/// any time; a mutation may then have happened or not.
#[must_use = "a call is not made until it is awaited"]
#[derive(Debug, Clone)]
pub struct Call<R> {
    client: RegistryClient,
    request: R,
}

impl<R: Unary> Call<R> {
    pub(crate) fn new(client: &RegistryClient, request: R) -> Self {
        Self { client: client.clone(), request }
    }

    pub(crate) fn with(mut self, set: impl FnOnce(&mut R)) -> Self {
        set(&mut self.request);
        self
    }

    pub(crate) fn request_mut(&mut self) -> &mut R {
        &mut self.request
    }

    /// Makes the call; the same as `.await` on it.
    ///
    /// # Errors
    /// As the RPC's documentation in [`registry_proto::v1`] says.
    pub async fn send(self) -> Result<R::Response, Error> {
        self.client.unary(self.request).await
    }
}

impl<R: Unary> IntoFuture for Call<R> {
    type Output = Result<R::Response, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<R: Unary + Mutating> Call<R> {
    /// The id under which the registry does this once, however often it is asked. The client makes one up for each call; set
    /// it to repeat a call whose outcome is unknown, perhaps in another process. The registry knows it for 24 hours, unless it is
    /// configured otherwise (`request_id_keep`): the same call after that is a new one.
    pub fn request_id(self, id: Uuid) -> Self {
        self.with(|request| {
            if let Some(request_id) = request.request_id_mut() {
                *request_id = id.to_string();
            }
        })
    }

    /// Check everything and answer what would come out, but change nothing.
    pub fn validate_only(self, validate_only: bool) -> Self {
        self.with(|request| *request.validate_only_mut() = validate_only)
    }
}

impl<R: Unary + Paged> Call<R> {
    /// How many items to fetch at once: 0 leaves it to the server, more than 1000 is taken as 1000.
    pub fn page_size(self, page_size: u32) -> Self {
        self.with(|request| *request.page_size_mut() = page_size.try_into().unwrap_or(i32::MAX))
    }

    /// Start behind an earlier page; the other parameters have to be those of that page.
    pub fn page_token(self, page_token: impl Into<String>) -> Self {
        self.with(|request| *request.page_token_mut() = page_token.into())
    }

    /// All items, page after page. The next page is fetched when the reader has come to it.
    ///
    /// The stream ends after its first error.
    pub fn stream(self) -> Items<R::Item> {
        let Self { client, request } = self;
        let pages = stream::try_unfold(Some(request), move |request| {
            let client = client.clone();
            async move {
                let Some(mut request) = request else { return Ok(None) };
                let (items, next) = R::into_page(client.unary(request.clone()).await?);
                let more = !next.is_empty();
                *request.page_token_mut() = next;
                Ok::<_, Error>(Some((stream::iter(items.into_iter().map(Ok)), more.then_some(request))))
            }
        });
        Items::new(pages.try_flatten())
    }
}

/// The optional fields of a request, as methods of its [`Call`].
macro_rules! setters {
    ($request:ident { $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) $set:expr;)* }) => {
        impl crate::Call<crate::pb::$request> {
            $(
                $(#[$doc])*
                pub fn $name(self, $($arg: $type),*) -> Self {
                    self.with($set)
                }
            )*
        }
    };
}

pub(crate) use setters;

/// Makes a request safe to send again: if it has a place for a request id, it gets one. These grow with time, which keeps the
/// server's index of them compact.
pub(crate) fn identify(request: &mut impl Request) {
    if let Some(request_id) = request.request_id_mut()
        && request_id.is_empty()
    {
        *request_id = Uuid::now_v7().to_string();
    }
}
