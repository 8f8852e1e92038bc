//! Who calls: proven by a token or a certificate, where callers have to prove it.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};
use registry_proto::v1::ErrorReason;
use registry_proto::{ACTOR_BIN_HEADER, ACTOR_HEADER};
use tonic::body::Body;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

use crate::connections::Peer;
use crate::error::Error;
use crate::registry::access::came::Came;
use crate::registry::access::guard::Guard;
use crate::registry::access::wishes::Caller;
use crate::rules::access::Bearer;

/// Whether everybody may call a method: those tell nothing of what is in the registry.
pub(super) fn is_open(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/") || path.starts_with("/grpc.reflection.")
}

/// Puts the caller of a request among its extensions, and says who that is. Where the headers say who calls they say the same: whatever they said before, from here
/// on there is one actor. The secret goes no further.
pub(super) async fn authenticate(guard: &Guard, request: &mut Request<Body>) -> Result<Arc<Bearer>, Error> {
    let came = Came::of(request.headers(), request.extensions());
    let shown = match (request.extensions().get::<Peer>(), request.headers().contains_key(AUTHORIZATION)) {
        // A token says more than where it comes from.
        (Some(Peer { certificate: Some(shown), .. }), false) if guard.knows_certificates() => guard.named(shown),
        _ => match bearer(request.headers()) {
            Ok(token) => guard.authenticate(token).await,
            Err(error) => Err(error),
        },
    };
    let shown = shown.inspect_err(|error| guard.note_unknown(&came, error))?;
    let caller = Arc::new(Caller { came, ..shown });
    let headers = request.headers_mut();
    headers.remove(AUTHORIZATION);
    set_actor(headers, &caller.bearer.principal);
    let bearer = Arc::clone(&caller.bearer);
    request.extensions_mut().insert(caller);
    Ok(bearer)
}

/// Makes a principal the one that the headers name.
fn set_actor(headers: &mut HeaderMap, principal: &str) {
    headers.remove(ACTOR_BIN_HEADER);
    // Most are ASCII: nothing has to be encoded, here and where it is read.
    if let Some(actor) = HeaderValue::from_str(principal).ok().filter(|_| principal.is_ascii()) {
        headers.insert(ACTOR_HEADER, actor);
        return;
    }
    headers.remove(ACTOR_HEADER);
    let mut metadata = MetadataMap::from_headers(std::mem::take(headers));
    metadata.insert_bin(ACTOR_BIN_HEADER, BinaryMetadataValue::from_bytes(principal.as_bytes()));
    *headers = metadata.into_headers();
}

/// The token in the headers of a call.
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Error::Unauthenticated(ErrorReason::TokenMissing))?;
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    match (token, values.next()) {
        (Some(token), None) => Ok(token),
        _ => Err(Error::Unauthenticated(ErrorReason::TokenInvalid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Violations;
    use crate::grpc::call::actor;

    #[test]
    fn whoever_is_named_before_the_caller_is_the_actor() {
        for principal in ["users/ana", "users/ana@example.com", "services/trainer", "users/zoë"] {
            let mut headers = HeaderMap::new();
            headers.append(ACTOR_HEADER, HeaderValue::from_static("users/root"));
            headers.append(ACTOR_HEADER, HeaderValue::from_static("users/admin"));
            headers.append(ACTOR_BIN_HEADER, HeaderValue::from_static("cm9vdA"));
            set_actor(&mut headers, principal);
            let mut found = Violations::default();
            assert_eq!(actor(&MetadataMap::from_headers(headers), &mut found), principal);
            found.check().unwrap();
        }
    }

    #[test]
    fn a_call_has_one_token() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned).map_err(|error| match error {
                Error::Unauthenticated(reason) => reason,
                error => panic!("{error}"),
            })
        };
        for (values, expected) in [
            (&["Bearer mr_x"][..], Ok("mr_x")),
            (&["bearer mr_x"], Ok("mr_x")),
            (&[], Err(ErrorReason::TokenMissing)),
            (&[""], Err(ErrorReason::TokenInvalid)),
            (&["mr_x"], Err(ErrorReason::TokenInvalid)),
            (&["Basic mr_x"], Err(ErrorReason::TokenInvalid)),
            (&["Bearer mr_x", "Bearer mr_y"], Err(ErrorReason::TokenInvalid)),
        ] {
            assert_eq!(of(values), expected.map(str::to_owned), "{values:?}");
        }
    }

    #[test]
    fn what_is_open_is_health_and_reflection() {
        for (path, open) in [
            ("/grpc.health.v1.Health/Check", true),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true),
            ("/modelregistry.v1.ModelService/GetModel", false),
            ("/modelregistry.v1.ModelService/Unknown", false),
            ("/grpc.health.v1.Healthy/Check", false),
            ("//grpc.health.v1.Health/Check", false),
            ("", false),
        ] {
            assert_eq!(is_open(path), open, "{path}");
        }
    }
}
