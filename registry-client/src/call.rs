use std::future::IntoFuture;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{Error, RegistryClient};

/// A unary RPC, named by its request message.
pub trait Rpc: Clone + Send + Sync + 'static {
    /// The message that answers it.
    type Answer: Send;

    /// The method, as it is in logs.
    #[doc(hidden)]
    const NAME: &'static str;

    #[doc(hidden)]
    fn send(
        channel: Channel,
        request: tonic::Request<Self>,
    ) -> impl Future<Output = Result<tonic::Response<Self::Answer>, tonic::Status>> + Send;

    /// Makes the request safe to send again: a mutation gets a request id, unless it has one.
    #[doc(hidden)]
    fn identify(&mut self) {}
}

/// An [`Rpc`] that changes something.
pub trait Mutation: Rpc {
    #[doc(hidden)]
    fn request_id_mut(&mut self) -> &mut String;
    #[doc(hidden)]
    fn validate_only_mut(&mut self) -> &mut bool;
}

/// An [`Rpc`] that lists things, a page at a time.
pub trait Paged: Rpc {
    /// What is listed.
    type Item: Send + 'static;

    #[doc(hidden)]
    fn page_size_mut(&mut self) -> &mut i32;
    #[doc(hidden)]
    fn page_token_mut(&mut self) -> &mut String;
    /// The items, and the token of the page behind them.
    #[doc(hidden)]
    fn into_page(answer: Self::Answer) -> (Vec<Self::Item>, String);
}

/// A call that has not been made yet: set what is optional, then `.await` it.
///
/// The methods that are there depend on the request. Every mutation has [`request_id`](Self::request_id) and
/// [`validate_only`](Self::validate_only); every list has [`stream`](Call::stream) for all of its items, while `.await`
/// answers one page.
///
/// A call ends with [`Error::DeadlineExceeded`] after the client's timeout, retries included. It can be dropped at any time; a
/// mutation may then have happened or not.
#[must_use = "a call is not made until it is awaited"]
#[derive(Debug, Clone)]
pub struct Call<R> {
    client: RegistryClient,
    request: R,
}

impl<R: Rpc> Call<R> {
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
    pub async fn send(self) -> Result<R::Answer, Error> {
        self.client.unary(self.request).await
    }
}

impl<R: Rpc> IntoFuture for Call<R> {
    type Output = Result<R::Answer, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<R: Mutation> Call<R> {
    /// The id under which the registry does this once, however often it is asked. The client makes one up for each call; set
    /// it to repeat a call whose outcome is unknown, perhaps in another process.
    pub fn request_id(self, id: Uuid) -> Self {
        self.with(|request| *request.request_id_mut() = id.to_string())
    }

    /// Check everything and answer what would come out, but change nothing.
    pub fn validate_only(self, validate_only: bool) -> Self {
        self.with(|request| *request.validate_only_mut() = validate_only)
    }
}

impl<R: Paged> Call<R> {
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
    pub fn stream(self) -> BoxStream<'static, Result<R::Item, Error>> {
        let Self { client, request } = self;
        stream::try_unfold(Some(request), move |request| {
            let client = client.clone();
            async move {
                let Some(mut request) = request else { return Ok(None) };
                let (items, next) = R::into_page(client.unary(request.clone()).await?);
                let more = !next.is_empty();
                *request.page_token_mut() = next;
                Ok::<_, Error>(Some((stream::iter(items.into_iter().map(Ok)), more.then_some(request))))
            }
        })
        .try_flatten()
        .boxed()
    }
}

/// Names the RPCs of one service: what each takes and answers, and of which sort it is.
macro_rules! rpcs {
    ($client:ty {
        reads { $($read:ident($read_request:ident) -> $read_answer:ident;)* }
        lists { $($list:ident($list_request:ident) -> $list_answer:ident . $items:ident: $item:ident;)* }
        mutations { $($mutation:ident($mutation_request:ident) -> $mutation_answer:ident;)* }
    }) => {
        $(rpcs!(@rpc $client, $read, $read_request, $read_answer, {});)*
        $(
            rpcs!(@rpc $client, $list, $list_request, $list_answer, {});

            impl crate::call::Paged for crate::pb::$list_request {
                type Item = crate::pb::$item;

                fn page_size_mut(&mut self) -> &mut i32 {
                    &mut self.page_size
                }

                fn page_token_mut(&mut self) -> &mut String {
                    &mut self.page_token
                }

                fn into_page(answer: Self::Answer) -> (Vec<Self::Item>, String) {
                    (answer.$items, answer.next_page_token)
                }
            }
        )*
        $(
            rpcs!(@rpc $client, $mutation, $mutation_request, $mutation_answer, {
                fn identify(&mut self) {
                    crate::call::identify(&mut self.request_id);
                }
            });

            impl crate::call::Mutation for crate::pb::$mutation_request {
                fn request_id_mut(&mut self) -> &mut String {
                    &mut self.request_id
                }

                fn validate_only_mut(&mut self) -> &mut bool {
                    &mut self.validate_only
                }
            }
        )*
    };
    (@rpc $client:ty, $method:ident, $request:ident, $answer:ident, { $($identify:item)? }) => {
        impl crate::call::Rpc for crate::pb::$request {
            type Answer = crate::pb::$answer;

            const NAME: &'static str = stringify!($method);

            async fn send(
                channel: tonic::transport::Channel,
                request: tonic::Request<Self>,
            ) -> Result<tonic::Response<Self::Answer>, tonic::Status> {
                <$client>::new(channel)
                    .max_decoding_message_size(crate::client::MAX_MESSAGE_BYTES)
                    .$method(request)
                    .await
            }

            $($identify)?
        }
    };
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

pub(crate) use {rpcs, setters};

/// Fills in a request id. They grow with time, which keeps the server's index of them compact.
pub(crate) fn identify(request_id: &mut String) {
    if request_id.is_empty() {
        *request_id = Uuid::now_v7().to_string();
    }
}
