//! The tags of namespaces, as far as bindings go by them: who changes them changes who may do what.

use registry_proto::v1 as pb;

use super::guard::Current;
use super::wishes::{Wish, denied};
use crate::error::Error;
use crate::registry::transaction::{Tx, event_of};
use crate::rules::access::Tags;

/// Fails if somebody has given other tags to a namespace who lacks something of what bindings give by them: nobody gives what they do not
/// have, nor takes it from others. Otherwise it leaves the mark of such a change.
pub(in crate::registry) async fn check(tx: &mut Tx<'_>, by: Option<(&Current, &Wish)>) -> Result<(), Error> {
    let changed: Vec<_> = tx.events.iter().filter_map(changed).collect();
    if changed.is_empty() {
        return Ok(());
    }
    if let Some((current, Wish { caller, .. })) = by {
        for (name, before, after) in &changed {
            let given = current.access.given_by(before, after);
            if let Some(lacking) = given.first_beyond(caller.bearer.permissions(&current.access, name)) {
                return Err(denied(lacking, name));
            }
        }
    }
    tx.mark_access().await
}

/// The namespace that an event is of, if that has other tags now, with those before and those after.
fn changed(event: &pb::Event) -> Option<(String, Tags, Tags)> {
    let namespace = |resource: &Option<pb::Resource>| match &resource.as_ref()?.resource {
        Some(pb::resource::Resource::Namespace(namespace)) => Some(namespace.clone()),
        _ => None,
    };
    let after = namespace(&event.after)?;
    let before = match event.r#type == event_of::<pb::Namespace>("created").r#type {
        true => Tags::new(),
        false if event.changed_fields.iter().any(|field| field == "tags") => namespace(&event.before)?.tags,
        false => return None,
    };
    (before != after.tags).then_some((after.name, before, after.tags))
}
