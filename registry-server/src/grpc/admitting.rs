//! Whether a caller may: decided when a call comes in, before anything in the registry is looked at, so that what is refused tells nothing
//! of what there is.
//!
//! What a call needs comes from the contract: the permission of its method, on everything that its request names.

use std::sync::Arc;

use futures::future::{BoxFuture, pending};
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, Stream, StreamExt as _};
use http::Extensions;
use registry_proto::rpc;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::Services;
use crate::error::Error;
use crate::registry::Intent;
use crate::registry::access::guard::Guard;
use crate::registry::access::wishes::{Caller, Need, Seen, Wish};
use crate::rules::access::{Permission, SERVER};

/// What a call needs: the permission of its method and those of the fields that it sets, on all that it is about.
pub(super) fn needs<Q: rpc::Request>(request: &Q) -> Result<Vec<Need>, Error> {
    let names = request.names();
    let mut needs = needs_on::<Q>(&names)?;
    for permission in request.field_permissions() {
        needs.extend(all_on(named::<Q>(permission)?, &names));
    }
    Ok(needs)
}

/// The permission of a method, on things with these names.
pub(super) fn needs_on<Q: rpc::Request>(names: &[&str]) -> Result<Vec<Need>, Error> {
    Ok(all_on(permission::<Q>(), names))
}

/// A permission on things with these names; without any, on the server.
fn all_on(permission: Permission, names: &[&str]) -> Vec<Need> {
    match names {
        [] => vec![Need::One(permission, SERVER.to_owned())],
        names => names.iter().map(|name| Need::on(permission, name)).collect(),
    }
}

/// What a call needs that has events of something sent elsewhere: to watch them, too.
pub(super) fn needs_events<Q: rpc::Request>(request: &Q, parent: Option<&str>) -> Result<Vec<Need>, Error> {
    let mut needs = needs(request)?;
    needs.push(Need::on(permission::<pb::WatchEventsRequest>(), parent.unwrap_or_default()));
    Ok(needs)
}

/// The permission of a method.
pub(super) fn permission<Q: rpc::Request>() -> Permission {
    Permission::of_method::<Q>()
}

fn named<Q: rpc::Request>(permission: &str) -> Result<Permission, Error> {
    Permission::named(permission).ok_or_else(|| Error::internal(format!("{} has no permission", Q::METHOD)))
}

/// A caller who may do what they ask for, or see a part of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Admitted {
    /// `None` where everybody may do everything.
    wish: Option<(Guard, Arc<Wish>)>,
    /// What they see of it, if that is not all.
    pub(super) seen: Option<Seen>,
}

impl Admitted {
    /// What is decided again where a change is.
    pub(super) fn wish(&self) -> Option<Arc<Wish>> {
        self.wish.as_ref().map(|(_, wish)| Arc::clone(wish))
    }

    /// Fails if they may not any more.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.wish.as_ref().map_or(Ok(()), |(guard, wish)| guard.grant(wish))
    }

    /// What they see of all that they ask for, now and later.
    pub(super) fn sees<Q: rpc::Request>(&self) -> Result<Option<Seen>, Error> {
        let Some((guard, wish)) = &self.wish else { return Ok(None) };
        Ok(Some(guard.seen(&wish.caller, permission::<Q>())))
    }

    /// Waits until they may not any more, nor see some of it where that is enough, and says why.
    pub(super) fn revoked(&self, some: bool) -> BoxFuture<'static, Error> {
        match self.wish.clone() {
            Some((guard, wish)) => guard.revoked(wish, some).boxed(),
            None => pending().boxed(),
        }
    }
}

/// A stream that ends when its caller may not read it any more.
pub(super) fn while_admitted<T: Send + 'static>(
    admitted: &Admitted,
    messages: impl Stream<Item = Result<T, Error>> + Send + 'static,
) -> BoxStream<'static, Result<T, Error>> {
    if admitted.wish.is_none() {
        return messages.boxed();
    }
    let state = Some((messages.boxed(), admitted.revoked(false)));
    let go_on = async |state: Option<(BoxStream<'static, _>, BoxFuture<'static, Error>)>| {
        let (mut messages, mut revoked) = state?;
        tokio::select! {
            biased;
            error = &mut revoked => Some((Err(error), None)),
            next = messages.next() => next.map(|next| (next, Some((messages, revoked)))),
        }
    };
    stream::unfold(state, go_on).boxed()
}

impl Services {
    /// A caller who has all that a call needs.
    ///
    /// # Errors
    /// If they lack some of it, or their token has ended.
    pub(super) fn admit(
        &self,
        extensions: &Extensions,
        needs: impl FnOnce() -> Result<Vec<Need>, Error>,
    ) -> Result<Admitted, Error> {
        let Some((guard, wish)) = self.wish(extensions, needs)? else { return Ok(Admitted::default()) };
        guard.grant(&wish)?;
        Ok(Admitted { wish: Some((guard.clone(), wish)), seen: None })
    }

    /// A caller who has all that a call needs, or has it on some of what lies below: they see that.
    ///
    /// # Errors
    /// If there is none, or their token has ended.
    pub(super) fn admit_some<Q: rpc::Request>(&self, extensions: &Extensions, request: &Q) -> Result<Admitted, Error> {
        let Some((guard, wish)) = self.wish(extensions, || needs(request))? else { return Ok(Admitted::default()) };
        let current = guard.current();
        let seen = match wish.check(&current) {
            Ok(()) => None,
            Err(Error::Denied { .. }) if wish.sees_some(&current) => Some(guard.seen(&wish.caller, permission::<Q>())),
            Err(error) => {
                guard.note_denied(&wish.caller, &error);
                return Err(error);
            }
        };
        Ok(Admitted { wish: Some((guard.clone(), wish)), seen })
    }

    /// The caller of a change or a stream who may watch the events of something.
    ///
    /// # Errors
    /// If they may not.
    pub(super) fn admit_to_events(&self, intent: &Intent, parent: &str) -> Result<Admitted, Error> {
        let (Some(guard), Some(wish)) = (self.registry.guard(), &intent.wish) else { return Ok(Admitted::default()) };
        let needs = vec![Need::on(permission::<pb::WatchEventsRequest>(), parent)];
        let wish = Arc::new(Wish { caller: wish.caller.clone(), needs });
        guard.grant(&wish)?;
        Ok(Admitted { wish: Some((guard.clone(), wish)), seen: None })
    }

    fn wish(
        &self,
        extensions: &Extensions,
        needs: impl FnOnce() -> Result<Vec<Need>, Error>,
    ) -> Result<Option<(&Guard, Arc<Wish>)>, Error> {
        let Some(guard) = self.registry.guard() else { return Ok(None) };
        // The layer has put them there, or has refused the call.
        let caller = extensions.get::<Arc<Caller>>().ok_or(Error::Unauthenticated(ErrorReason::TokenMissing))?;
        Ok(Some((guard, Arc::new(Wish { caller: caller.clone(), needs: needs()? }))))
    }
}
