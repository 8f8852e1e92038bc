//! Namespaces.

use crate::call::setters;
use crate::models::mask;
use crate::{Call, RegistryClient, pb};

/// Namespaces: what models lie in. The first model in a namespace makes it; nobody has to.
impl RegistryClient {
    /// Makes a namespace by its id: `risk`.
    ///
    /// [`is_already_exists`](crate::Error::is_already_exists) if the id is taken, also by a deleted namespace.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// client.create_namespace("risk").display_name("Risk").tag("cost-center", "4711").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_namespace(&self, id: impl Into<String>) -> Call<pb::CreateNamespaceRequest> {
        self.call(pb::CreateNamespaceRequest { namespace_id: id.into(), ..Default::default() })
    }

    /// One namespace, also a deleted one: `risk` or `namespaces/risk`.
    pub fn get_namespace(&self, name: impl Into<String>) -> Call<pb::GetNamespaceRequest> {
        self.call(pb::GetNamespaceRequest { name: named(name) })
    }

    /// All namespaces.
    pub fn list_namespaces(&self) -> Call<pb::ListNamespacesRequest> {
        self.call(pb::ListNamespacesRequest::default())
    }

    /// Changes a namespace: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names.
    ///
    /// If it has an etag, [`is_conflict`](crate::Error::is_conflict) unless that is still the current one.
    pub fn update_namespace(&self, mut namespace: pb::Namespace) -> Call<pb::UpdateNamespaceRequest> {
        namespace.name = named(namespace.name);
        self.call(pb::UpdateNamespaceRequest { namespace: Some(namespace), ..Default::default() })
    }

    /// Marks a namespace as deleted.
    ///
    /// [`is_failed_precondition`](crate::Error::is_failed_precondition) while it has models that are not deleted.
    pub fn delete_namespace(&self, name: impl Into<String>) -> Call<pb::DeleteNamespaceRequest> {
        self.call(pb::DeleteNamespaceRequest { name: named(name), ..Default::default() })
    }

    /// Takes a deletion back.
    pub fn undelete_namespace(&self, name: impl Into<String>) -> Call<pb::UndeleteNamespaceRequest> {
        self.call(pb::UndeleteNamespaceRequest { name: named(name), ..Default::default() })
    }
}

setters!(CreateNamespaceRequest {
    /// A name for people.
    display_name(name: impl Into<String>) |r| r.namespace.get_or_insert_default().display_name = name.into();
    /// What the namespace is, for people.
    description(text: impl Into<String>) |r| r.namespace.get_or_insert_default().description = text.into();
    /// The most that its artifacts may add up to, in bytes; without it, what the server gives every namespace.
    quota_bytes(bytes: i64) |r| r.namespace.get_or_insert_default().quota_bytes = Some(bytes);
    /// Adds a tag, for selecting.
    tag(key: impl Into<String>, value: impl Into<String>) |r| {
        r.namespace.get_or_insert_default().tags.insert(key.into(), value.into());
    };
});

setters!(ListNamespacesRequest {
    /// Only those that meet this condition, in CEL: `resource.tags["region"] == "eu"`. A page may be short or empty and not be the last; `stream()` goes on.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// `name` (the default) or `create_time`, each also with ` desc`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
    /// Deleted namespaces as well.
    show_deleted(show: bool) |r| r.show_deleted = show;
});

setters!(UpdateNamespaceRequest {
    /// Which fields to take, also if they are empty: `description`, `tags`, ...; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(DeleteNamespaceRequest {
    /// Only if this is still the namespace's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(UndeleteNamespaceRequest {
    /// Only if this is still the namespace's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

/// The whole name of a namespace that may be short.
pub(crate) fn named(name: impl Into<String>) -> String {
    let name = name.into();
    if name.is_empty() || name.contains('/') { name } else { format!("namespaces/{name}") }
}
