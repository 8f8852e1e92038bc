//! What requests have in common, as traits, so that code on either side is written once for all methods.
//!
//! The build derives the implementations from the contract: a method that is added there has them at once.

use prost::Message;
use prost_types::FieldMask;

use crate::resource::Resource;

/// The message that a method takes.
pub trait Request: Message + Default + Clone + 'static {
    /// What the method returns; of a server stream, each message of it.
    type Response: Message + Default + 'static;

    /// The method, for example `GetModel`.
    const METHOD: &'static str;
    /// Where it is called: `/modelregistry.v1.ModelService/GetModel`.
    const PATH: &'static str;
    /// What its caller has to be allowed, for example `models.get`.
    const PERMISSION: &'static str;

    /// The names of what the request is about, as they came; none if it is about the server. What a resource in it refers to besides, such
    /// as the versions that a version was made from, is not among them.
    fn names(&self) -> Vec<&str>;

    /// What its caller has to be allowed besides that, on the same things, for the fields that it sets or clears.
    fn field_permissions(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The request id, if the message has one.
    fn request_id_mut(&mut self) -> Option<&mut String> {
        None
    }
}

/// A request that is one message, and is answered with one.
pub trait Unary: Request {}

/// A request that changes something, once for each request id.
pub trait Mutating: Request {
    /// The id under which it happens once.
    fn request_id(&self) -> &str;
    /// Whether only to check it and return what would come out.
    fn validate_only(&self) -> bool;
    /// The same, to be set.
    fn validate_only_mut(&mut self) -> &mut bool;
    /// Why; empty if the message has no place for it.
    fn comment(&self) -> &str {
        ""
    }
}

/// A request for a page of a list.
pub trait Paged: Request {
    /// What is listed.
    type Item: Message + Default + 'static;

    /// How many items to return at most.
    fn page_size_mut(&mut self) -> &mut i32;
    /// Where to go on.
    fn page_token_mut(&mut self) -> &mut String;
    /// Which items; empty means all, also if the message has no place for it.
    fn filter(&self) -> &str {
        ""
    }
    /// In which order; empty means the list's own, also if the message has no place for it.
    fn order_by(&self) -> &str {
        ""
    }
    /// Whether to list what is deleted as well.
    fn show_deleted(&self) -> bool {
        false
    }
    /// Whether to count what the whole list has.
    fn count(&self) -> bool {
        false
    }
    /// Whether to say how the page came about.
    fn explain(&self) -> bool {
        false
    }
    /// A response with these items, and the token of the next page.
    fn page(items: Vec<Self::Item>, next_page_token: String) -> Self::Response;
    /// The items of a response, and the token of the next page.
    fn into_page(response: Self::Response) -> (Vec<Self::Item>, String);
}

/// A request that reads resources, and may name the fields of them that it wants.
pub trait Masked: Request {
    /// What it reads.
    type Resource: Resource;

    /// The fields to return; absent means all.
    fn read_mask_mut(&mut self) -> &mut Option<FieldMask>;
}

/// Whether a mask names a field, or all.
fn names_field(mask: &Option<FieldMask>, field: &str) -> bool {
    mask.iter().flat_map(|mask| &mask.paths).any(|path| path == field || path == "*")
}

/// What callers of methods may have to be allowed, in order.
pub const PERMISSIONS: &[&str] = include!(concat!(env!("OUT_DIR"), "/permissions.rs"));

/// Where all methods are called: `/modelregistry.v1.ModelService/GetModel`.
pub const PATHS: &[&str] = include!(concat!(env!("OUT_DIR"), "/paths.rs"));

/// Where the methods are called that are asked and answered with one message, and change nothing.
const READS: &[&str] = include!(concat!(env!("OUT_DIR"), "/reads.rs"));

/// Whether the method at this path is asked and answered with one message, and changes nothing: it may be called twice as well as once.
pub fn is_read(path: &str) -> bool {
    READS.contains(&path)
}

#[allow(clippy::all, unused_mut, reason = "generated code")]
mod derived {
    use super::{Masked, Mutating, Paged, Request, Unary, names_field};

    include!(concat!(env!("OUT_DIR"), "/rpc.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1 as pb;

    #[test]
    fn a_request_names_what_it_is_about() {
        let stage = |name: &str| pb::TransitionStageRequest { name: name.to_owned(), ..Default::default() };
        let requests = vec![stage("models/a/versions/1"), stage("models/b/versions/2")];
        let batch = pb::BatchTransitionStagesRequest { requests, ..Default::default() };
        assert_eq!(batch.names(), ["models/a/versions/1", "models/b/versions/2"]);
        let model = pb::Model { name: "models/a".to_owned(), ..Default::default() };
        let update = pb::UpdateModelRequest { model: Some(model), ..Default::default() };
        assert_eq!(update.names(), ["models/a"]);
        let version = pb::Version { base_versions: vec!["models/b@latest".to_owned()], ..Default::default() };
        let parent = "models/a".to_owned();
        let create = pb::CreateVersionRequest { parent, version: Some(version), ..Default::default() };
        assert_eq!(create.names(), ["models/a"]);
        let alias = pb::SetAliasRequest { name: "models/a".to_owned(), version: "7".to_owned(), ..Default::default() };
        assert_eq!(alias.names(), ["models/a"]);
        let names = vec!["models/a@b".to_owned(), "models/c@d".to_owned()];
        assert_eq!(pb::CompareVersionsRequest { names, ..Default::default() }.names(), ["models/a@b", "models/c@d"]);
        // The default namespace need not be said.
        assert_eq!(pb::ListModelsRequest::default().names(), ["namespaces/default"]);
        assert_eq!(pb::SearchResourcesRequest::default().names(), ["namespaces/default"]);
        for nothing in [pb::WatchEventsRequest::default().names(), pb::BackupRequest::default().names()] {
            assert!(nothing.is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn permissions_are_in_order() {
        assert!(PERMISSIONS.is_sorted() && PERMISSIONS.binary_search(&"models.get").is_ok());
        assert!(PERMISSIONS.iter().all(|permission| permission.split_once('.').is_some()));
    }

    #[test]
    fn a_request_takes_the_permissions_of_the_fields_that_it_sets() {
        let stage = |override_gates| pb::TransitionStageRequest { override_gates, ..Default::default() };
        assert!(stage(false).field_permissions().is_empty());
        assert_eq!(stage(true).field_permissions(), ["versions.overrideGates"]);
        let batch =
            pb::BatchTransitionStagesRequest { requests: vec![stage(false), stage(true)], ..Default::default() };
        assert_eq!(batch.field_permissions(), ["versions.overrideGates"]);
        let model = |policy: &str| Some(pb::Model { policy: policy.to_owned(), ..Default::default() });
        let create = pb::CreateModelRequest { model: model("lax"), ..Default::default() };
        assert_eq!(create.field_permissions(), ["models.setPolicy"]);
        let update = |policy, paths: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            let request = pb::UpdateModelRequest {
                model: model(policy),
                update_mask: Some(FieldMask { paths }),
                ..Default::default()
            };
            request.field_permissions()
        };
        // What clears it, too, also with all that there is.
        for (policy, paths) in [("lax", &["policy"][..]), ("", &["tags", "policy"]), ("", &["*"])] {
            assert_eq!(update(policy, paths), ["models.setPolicy"], "{paths:?}");
        }
        assert!(update("", &["tags"]).is_empty());
    }

    #[test]
    fn what_changes_nothing_is_a_read() {
        let reads = [
            pb::GetModelRequest::PATH,
            pb::ListVersionsRequest::PATH,
            pb::FindMissingChunksRequest::PATH,
            pb::SearchResourcesRequest::PATH,
        ];
        let others = [
            pb::CreateModelRequest::PATH,
            pb::TransitionStageRequest::PATH,
            // Streams, in either direction.
            pb::UploadArtifactRequest::PATH,
            pb::DownloadArtifactRequest::PATH,
            pb::WatchEventsRequest::PATH,
            "/grpc.health.v1.Health/Check",
            "",
        ];
        for (paths, expected) in [(&reads[..], true), (&others[..], false)] {
            assert!(paths.iter().all(|path| is_read(path) == expected), "{paths:?}");
        }
    }
}
