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

/// Where the methods are called that are asked and answered with one message, and change nothing.
const READS: &[&str] = include!(concat!(env!("OUT_DIR"), "/reads.rs"));

/// Whether the method at this path is asked and answered with one message, and changes nothing: it may be called twice as well as once.
pub fn is_read(path: &str) -> bool {
    READS.contains(&path)
}

#[allow(clippy::all, reason = "generated code")]
mod derived {
    use super::{Masked, Mutating, Paged, Request, Unary};

    include!(concat!(env!("OUT_DIR"), "/rpc.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1 as pb;

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
