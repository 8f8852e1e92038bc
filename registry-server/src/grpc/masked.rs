//! Reads that are answered with some fields of resources: the one place that applies a read mask (AIP-157).

use bytes::Bytes;
use futures::TryFutureExt as _;
use prost::Message as _;
use registry_proto::resource::Resource;
use registry_proto::rpc::{Masked, Paged};
use registry_proto::v1 as pb;
use tonic::Request;

use super::Services;
use super::call::{List, Reply};
use crate::error::{Error, Violations};
use crate::registry::Registry;
use crate::registry::lists::{Listed, Page};
use crate::registry::masks::Mask;
use crate::store;

/// A resource as a reply has it.
pub(super) trait Part<M>: Sized {
    /// The fields of it that were asked for.
    fn part(self, mask: &Mask<M>) -> Result<Self, Error>;
}

impl<M: Resource> Part<M> for M {
    fn part(self, mask: &Mask<M>) -> Result<Self, Error> {
        Ok(mask.only(&self))
    }
}

/// As it goes over the wire.
impl Part<pb::Version> for Bytes {
    fn part(self, mask: &Mask<pb::Version>) -> Result<Self, Error> {
        let whole: pb::Version = store::decode(self)?;
        Ok(mask.only(&whole).encode_to_vec().into())
    }
}

/// What a request wants, and which fields of it; `None` is all.
type Masking<T, M> = (T, Option<Mask<M>>);

/// What a request wants, and of that the fields that its mask names. The mask is taken out of it.
fn with_mask<Q: Masked, T, F: FnOnce(Q, &mut Violations) -> Option<T>>(
    request: &mut Request<Q>,
    to: F,
) -> impl FnOnce(Q, &mut Violations) -> Option<Masking<T, Q::Resource>> + use<Q, T, F> {
    let mask = request.get_mut().read_mask_mut().take();
    move |message, found| {
        let mask = Mask::of_reply(mask.as_ref(), found);
        Some((to(message, found)?, mask))
    }
}

impl Services {
    /// A call that reads a resource.
    pub(super) async fn get<Q: Masked, T, A: Part<Q::Resource>, F>(
        &self,
        mut request: Request<Q>,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        read: impl FnOnce(Registry, T) -> F,
    ) -> Reply<A>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let to = with_mask(&mut request, to);
        let read = |registry, (wanted, mask): Masking<T, _>| {
            read(registry, wanted).and_then(async move |whole: A| match mask {
                Some(mask) => whole.part(&mask),
                None => Ok(whole),
            })
        };
        self.read(request, to, read).await
    }

    /// A call for a page of a list of resources. The mask is no part of what a page token is bound to: it does not move a position.
    pub(super) async fn list_parts<Q: Paged + Masked, T, A, I: Part<Q::Resource>, R, F>(
        &self,
        mut request: Request<Q>,
        list: List,
        to: impl FnOnce(Q, &mut Violations) -> Option<T>,
        read: impl FnOnce(Registry, T, Page) -> F,
        respond: impl FnOnce(A, Vec<I>, String) -> R,
    ) -> Reply<R>
    where
        F: Future<Output = Result<(A, Listed<I>), Error>>,
    {
        let to = with_mask(&mut request, to);
        let read = |registry, (wanted, mask): Masking<T, _>, page| {
            read(registry, wanted, page).and_then(async move |(also, mut listed): (A, Listed<I>)| {
                if let Some(mask) = mask {
                    let parts = listed.items.into_iter().map(|item| item.part(&mask));
                    listed.items = parts.collect::<Result<_, _>>()?;
                }
                Ok((also, listed))
            })
        };
        self.list_with(request, list, to, read, respond).await
    }
}
