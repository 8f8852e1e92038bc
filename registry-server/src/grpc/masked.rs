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
        let mask = request.get_mut().read_mask_mut().take();
        let to = |message, found: &mut Violations| {
            let mask = Mask::of_reply(mask.as_ref(), found);
            Some((to(message, found)?, mask))
        };
        let read = |registry, (wanted, mask): (T, Option<_>)| {
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
        let mask = request.get_mut().read_mask_mut().take();
        let to = |message, found: &mut Violations| {
            let mask = Mask::of_reply(mask.as_ref(), found);
            Some((to(message, found)?, mask))
        };
        let read = |registry, (wanted, mask): (T, Option<_>), page| {
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
