//! The one door: every call comes in here, whatever its method and whatever it is about.
//!
//! A handler says what it takes a request for (a pure function, which adds what is wrong to the violations) and what is then to be
//! done. Who calls, request ids, `validate_only`, comments, pages, filters and all fields at fault at once are handled here.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, TryFutureExt as _};
use registry_proto::rpc::{self, Mutating, Paged};
use tonic::{Request, Response, Status};

use super::Services;
use super::caller::{actor, intent};
use super::paging::{self, Query, Sizes};
use crate::error::{Error, Violations};
use crate::registry::lists::{Listed, Page};
use crate::registry::{Intent, Mutation, Registry};
use crate::status::status;

/// What a handler returns.
pub(super) type Reply<T> = Result<Response<T>, Status>;
/// What a handler returns that answers with a stream.
pub(super) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a list offers.
pub(super) struct List {
    /// The fields that it can be ordered by, each in both directions; the first is the default.
    pub(super) orders: &'static [&'static str],
    /// How long its pages are.
    pub(super) sizes: Sizes,
}

impl List {
    /// A list with pages as most lists have them.
    pub(super) const fn by(orders: &'static [&'static str]) -> Self {
        Self { orders, sizes: Sizes { default: 50, most: 1000 } }
    }
}

impl Services {
    /// A call that is one change.
    pub(super) async fn change<Q: Mutating, M: Mutation>(
        &self,
        request: Request<Q>,
        to: impl FnOnce(Q, &mut Violations) -> Option<M>,
    ) -> Reply<M::Answer> {
        self.act(request, to, |registry, intent, mutation| async move { registry.commit(intent, mutation).await }).await
    }

    /// A call that changes something, and does more for it than commit.
    pub(super) async fn act<Q: Mutating, T, A, F>(
        &self,
        request: Request<Q>,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        act: impl FnOnce(Registry, Intent, T) -> F,
    ) -> Reply<A>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let (headers, _, mut message) = request.into_parts();
        let mut found = Violations::default();
        let intent = intent(&headers, &mut message, &mut found);
        let wanted = to(message, &mut found);
        let wanted = found.unless_any(wanted)?;
        Ok(Response::new(act(self.registry.clone(), intent, wanted).await?))
    }

    /// A call that reads something.
    pub(super) async fn read<Q: rpc::Request, T, A, F>(
        &self,
        request: Request<Q>,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        read: impl FnOnce(Registry, T) -> F,
    ) -> Reply<A>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let (headers, _, message) = request.into_parts();
        let mut found = Violations::default();
        actor(&headers, &mut found);
        let wanted = to(message, &mut found);
        let wanted = found.unless_any(wanted)?;
        Ok(Response::new(read(self.registry.clone(), wanted).await?))
    }

    /// A call for a page of a list.
    pub(super) async fn list<Q: Paged, T, F>(
        &self,
        request: Request<Q>,
        list: List,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        read: impl FnOnce(Registry, T, Page) -> F,
    ) -> Reply<Q::Response>
    where
        F: Future<Output = Result<Listed<Q::Item>, Error>>,
    {
        let read = |registry, wanted, page| read(registry, wanted, page).map_ok(|listed| ((), listed));
        self.list_with(request, list, to, read, |(), response| response).await
    }

    /// The same, of which each page also tells something else.
    pub(super) async fn list_with<Q: Paged, T, A, F>(
        &self,
        request: Request<Q>,
        list: List,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        read: impl FnOnce(Registry, T, Page) -> F,
        with: impl FnOnce(A, Q::Response) -> Q::Response,
    ) -> Reply<Q::Response>
    where
        F: Future<Output = Result<(A, Listed<Q::Item>), Error>>,
    {
        let (headers, _, mut message) = request.into_parts();
        no_filter(message.filter())?;
        let mut found = Violations::default();
        actor(&headers, &mut found);
        let size = list.sizes.of(std::mem::take(message.page_size_mut()), &mut found);
        let token = std::mem::take(message.page_token_mut());
        let query = Query::of(&message);
        let after = query.position(&token, &mut found);
        let (order, reverse) = paging::order(message.order_by(), list.orders, &mut found);
        let page = Page { size, after, order, reverse, show_deleted: message.show_deleted() };
        let wanted = to(message, &mut found);
        let wanted = found.unless_any(wanted)?;
        let (also, listed) = read(self.registry.clone(), wanted, page).await?;
        let next = listed.next.map(|next| query.token(&next)).unwrap_or_default();
        Ok(Response::new(with(also, Q::page(listed.items, next))))
    }

    /// A call that is answered with a stream.
    pub(super) async fn stream<Q: rpc::Request, T, A, S, F>(
        &self,
        request: Request<Q>,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        open: impl FnOnce(Self, Intent, T) -> F,
    ) -> Reply<Messages<A>>
    where
        F: Future<Output = Result<S, Error>>,
        S: Stream<Item = Result<A, Error>> + Send + 'static,
    {
        let (headers, _, message) = request.into_parts();
        let mut found = Violations::default();
        let intent = Intent { actor: actor(&headers, &mut found), ..Intent::default() };
        let wanted = to(message, &mut found);
        let wanted = found.unless_any(wanted)?;
        let messages = open(self.clone(), intent, wanted).await?;
        Ok(Response::new(Box::pin(messages.map(|message| message.map_err(|error| status(&error))))))
    }
}

/// Filters are refused, not ignored, until they are understood.
pub(super) fn no_filter(filter: &str) -> Result<(), Error> {
    if filter.is_empty() {
        return Ok(());
    }
    Err(Error::Unsupported("filter: this server does not evaluate filters".to_owned()))
}
