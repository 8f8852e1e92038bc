//! The one door: every call but a stream of uploads comes in here, whatever its method and whatever it is about.
//!
//! A handler says what it takes a request for (a pure function, which adds what is wrong to the violations) and what is then to be
//! done. Who calls, request ids, `validate_only`, comments, pages, filters and all fields at fault at once are handled here.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryFutureExt as _};
use http::Extensions;
use prost::Message;
use registry_proto::rpc::{self, Mutating, Paged};
use registry_proto::v1::ErrorReason;
use registry_proto::{ACTOR_BIN_HEADER, ACTOR_HEADER, REQUEST_ID_HEADER};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Services;
use super::admitting::{needs, while_admitted};
use super::paging::{self, Query, Sizes};
use crate::error::{Error, Violations, quoted};
use crate::layers::trace_of;
use crate::registry::access::came::caller_of;
use crate::registry::access::wishes::Need;
use crate::registry::lists::{Listed, Page};
use crate::registry::pages::LOOKED_AT;
use crate::registry::{Intent, Mutation, Registry};
use crate::rules::expression::Subject;
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
    /// What a filter is over, if it takes one.
    pub(super) filter: Option<&'static Subject>,
    /// Whether it is also ordered by the values of that.
    pub(super) sorted: bool,
    /// Whether callers who may not see all of it get what they may see.
    pub(super) narrowed: bool,
}

impl List {
    /// A list with pages as most lists have them.
    pub(super) const fn by(orders: &'static [&'static str]) -> Self {
        Self { orders, sizes: Sizes { default: 50, most: 1000 }, filter: None, sorted: false, narrowed: false }
    }

    /// The same list, which takes filters over this.
    pub(super) const fn of(self, subject: &'static Subject) -> Self {
        Self { filter: Some(subject), ..self }
    }

    /// The same list, of which everybody gets what they may see.
    pub(super) const fn narrowed(self) -> Self {
        Self { narrowed: true, ..self }
    }

    /// The same list, in any order.
    pub(super) const fn sorted(self) -> Self {
        Self { sorted: true, ..self }
    }
}

/// A stream that ends with UNAVAILABLE when the server comes to this point of stopping.
pub(super) fn until<T: Send + 'static>(
    mut stop: watch::Receiver<bool>,
    messages: impl Stream<Item = Result<T, Error>> + Send + 'static,
) -> BoxStream<'static, Result<T, Error>> {
    let stopped = stop.clone();
    let stops = async move {
        // An error means that the server is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let end = stream::once(async move { stopped.borrow().then_some(Err(Error::Draining)) });
    Box::pin(messages.take_until(stops).chain(end.filter_map(std::future::ready)))
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
        self.act_needing(request, needs, to, act).await
    }

    /// The same, which needs other permissions than its names and its method tell.
    pub(super) async fn act_needing<Q: Mutating, T, A, F>(
        &self,
        request: Request<Q>,
        needs: impl FnOnce(&Q) -> Result<Vec<Need>, Error>,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        act: impl FnOnce(Registry, Intent, T) -> F,
    ) -> Reply<A>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let (headers, extensions, mut message) = request.into_parts();
        let admitted = self.admit(&extensions, || needs(&message))?;
        let mut found = Violations::default();
        let intent = Intent { wish: admitted.wish(), ..intent(&headers, &extensions, &mut message, &mut found) };
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
        let (headers, extensions, message) = request.into_parts();
        self.admit(&extensions, || needs(&message))?;
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
        self.list_with(request, list, to, read, |(), items, next| Q::page(items, next)).await
    }

    /// The same, with a response made of the items, the token of the next page, and something else that was read.
    pub(super) async fn list_with<Q: Paged, T, A, I, R, F>(
        &self,
        request: Request<Q>,
        list: List,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        read: impl FnOnce(Registry, T, Page) -> F,
        respond: impl FnOnce(A, Vec<I>, String) -> R,
    ) -> Reply<R>
    where
        F: Future<Output = Result<(A, Listed<I>), Error>>,
    {
        let (headers, extensions, mut message) = request.into_parts();
        let seen = match list.narrowed {
            true => self.admit_some(&extensions, &message)?.seen,
            false => self.admit(&extensions, || needs(&message))?.seen,
        };
        let mut found = Violations::default();
        actor(&headers, &mut found);
        let filter = list.filter.and_then(|of| found.condition("filter", message.filter(), of)).map(Arc::new);
        let size = list.sizes.of("page_size", std::mem::take(message.page_size_mut()), &mut found);
        let token = std::mem::take(message.page_token_mut());
        let query = Query::of(&message);
        let after = query.position(&token, &mut found);
        let sorted = list.filter.filter(|_| list.sorted);
        let sortings = sorted.and_then(|of| paging::sortings(message.order_by(), list.orders, of, &mut found));
        let (order, reverse) = match sortings {
            Some(_) => ("", false),
            None => paging::order(message.order_by(), list.orders, &mut found),
        };
        let page = Page {
            size,
            after,
            order,
            reverse,
            sortings,
            show_deleted: message.show_deleted(),
            filter,
            count: message.count(),
            explain: message.explain(),
            look_at: LOOKED_AT,
            seen,
        };
        page.check_seen(message.names().first().copied().unwrap_or_default())?;
        let wanted = to(message, &mut found);
        let wanted = found.unless_any(wanted)?;
        let (also, listed) = read(self.registry.clone(), wanted, page).await?;
        let next = listed.next.map(|next| query.token(&next)).unwrap_or_default();
        Ok(Response::new(respond(also, listed.items, next)))
    }

    /// A call that is answered with a stream.
    pub(super) async fn stream<Q: rpc::Request, T, A, S, F>(
        &self,
        request: Request<Q>,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        open: impl FnOnce(Self, Intent, T) -> F,
    ) -> Reply<Messages<A>>
    where
        A: Send + 'static,
        F: Future<Output = Result<S, Error>>,
        S: Stream<Item = Result<A, Error>> + Send + 'static,
    {
        let (headers, extensions, message) = request.into_parts();
        let admitted = self.admit(&extensions, || needs(&message))?;
        let mut found = Violations::default();
        let (actor, wish) = (actor(&headers, &mut found), admitted.wish());
        let caller = Some(caller_of(headers.as_ref(), &extensions));
        let intent = Intent { rpc: Q::METHOD, actor, caller, wish, ..Intent::default() };
        let wanted = to(message, &mut found);
        let wanted = found.unless_any(wanted)?;
        let messages = while_admitted(&admitted, open(self.clone(), intent, wanted).await?);
        Ok(Response::new(Box::pin(messages.map(|message| message.map_err(|error| status(&error))))))
    }
}

/// The most characters that the name of a caller has.
const CHARACTERS: usize = 256;

/// Who calls, as they say themselves.
pub(crate) fn actor(headers: &MetadataMap, found: &mut Violations) -> String {
    if let Some(value) = headers.get_bin(ACTOR_BIN_HEADER) {
        let bytes = value.to_bytes().unwrap_or_default();
        let fits = |actor: &&str| !actor.is_empty() && actor.chars().count() <= CHARACTERS;
        return match str::from_utf8(&bytes).ok().filter(fits).filter(|actor| !actor.contains(char::is_control)) {
            Some(actor) => actor.to_owned(),
            None => {
                let form = format!("must be 1 to {CHARACTERS} characters in UTF-8, without control characters");
                found.invalid(ACTOR_BIN_HEADER, form);
                String::new()
            }
        };
    }
    let Some(value) = headers.get(ACTOR_HEADER) else { return "anonymous".to_owned() };
    match value.to_str() {
        // A tab is text to HTTP.
        Ok(actor) if !actor.is_empty() && actor.len() <= CHARACTERS && !actor.contains(char::is_control) => {
            actor.to_owned()
        }
        _ => {
            found.invalid(ACTOR_HEADER, format!("must be 1 to {CHARACTERS} visible ASCII characters"));
            String::new()
        }
    }
}

/// How much of its digest a request is remembered by: two requests of one caller under one id differ in it unless they are made to.
const FINGERPRINT_BYTES: usize = 16;

/// The intent behind a request that changes something, from which its request id is taken.
pub(super) fn intent<Q: Mutating>(
    headers: &MetadataMap,
    extensions: &Extensions,
    message: &mut Q,
    found: &mut Violations,
) -> Intent {
    check_comment("comment", message.comment(), found);
    let request_id = message.request_id_mut().map(std::mem::take).unwrap_or_default();
    let intent = intent_of(headers, extensions, Q::METHOD, message, &request_id, found);
    Intent { comment: message.comment().to_owned(), validate_only: message.validate_only(), ..intent }
}

/// The same, of a message that is a part of a request. Under a request id the message without it is remembered by its digest, so
/// that it is the same in the field and in the header, and who sent it: the id belongs to them.
pub(super) fn intent_of(
    headers: &MetadataMap,
    extensions: &Extensions,
    method: &'static str,
    message: &impl Message,
    request_id: &str,
    found: &mut Violations,
) -> Intent {
    let actor = actor(headers, found);
    let request_id = request_id_of(headers, request_id, found);
    let fingerprint = match request_id {
        None => Bytes::new(),
        Some(_) => {
            let mut hasher = Sha256::new();
            for part in [method.as_bytes(), &[0], actor.as_bytes(), &[0], &message.encode_to_vec()] {
                hasher.update(part);
            }
            Bytes::copy_from_slice(&hasher.finalize()[..FINGERPRINT_BYTES])
        }
    };
    let trace = trace_of(headers.as_ref());
    let caller = Some(caller_of(headers.as_ref(), extensions));
    Intent { rpc: method, actor, caller, request_id, fingerprint, trace, ..Intent::default() }
}

/// The request id in the field or, so that an interceptor can set it, in the header.
fn request_id_of(headers: &MetadataMap, field: &str, found: &mut Violations) -> Option<Uuid> {
    let header = headers.get(REQUEST_ID_HEADER).map(|value| value.to_str().unwrap_or("?"));
    let in_header = header.and_then(|id| parse_request_id(REQUEST_ID_HEADER, id, found));
    let in_field = Some(field).filter(|id| !id.is_empty());
    let in_field = in_field.and_then(|id| parse_request_id("request_id", id, found));
    if let (Some(field), Some(header)) = (in_field, in_header)
        && field != header
    {
        found.invalid("request_id", format!("is {field}, and the header {REQUEST_ID_HEADER} has {header}"));
    }
    in_field.or(in_header)
}

fn parse_request_id(field: &str, id: &str, found: &mut Violations) -> Option<Uuid> {
    match Uuid::try_parse(id) {
        Ok(id) if !id.is_nil() => Some(id),
        _ => {
            found.add(field, ErrorReason::RequestIdInvalid, format!("{} is not a UUID", quoted(id)));
            None
        }
    }
}

/// Checks why somebody wants a change.
pub(super) fn check_comment(field: &str, comment: &str, found: &mut Violations) {
    const BYTES: usize = 4 * 1024;
    if comment.len() > BYTES {
        found.invalid(field, format!("has {} bytes; at most {BYTES} are allowed", comment.len()));
    }
}
