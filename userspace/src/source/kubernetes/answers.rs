//! Whether an answer is what was asked for.
//!
//! Objects in a list do not say of which kind they are, and fields that are unknown are no errors:
//! a list of something else would be one of objects that have lost all that they were, and of those
//! that are known, none would be there any more.

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde::Deserialize;

/// What has to be so in the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is a list of this kind.
    List(&'static str),
    /// Nothing.
    Other,
}

/// Why an answer is not taken for one.
#[derive(Debug, thiserror::Error)]
#[error(
    "the answer is {found:?} and not {wanted}: that is no API server of Kubernetes, or something \
     between here and there answers for it"
)]
struct WrongKind {
    wanted: &'static str,
    found: String,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: String,
}

impl Asked {
    /// What is asked for by a request.
    pub(super) fn by(request: &Request<Body>) -> Self {
        let uri = request.uri();
        let is_watch = uri.query().unwrap_or_default().split('&').any(|it| it == "watch=true");
        if request.method() != Method::GET || is_watch {
            return Self::Other;
        }
        match uri.path().rsplit('/').next() {
            Some("nodes") => Self::List("NodeList"),
            Some("services") => Self::List("ServiceList"),
            Some("endpointslices") => Self::List("EndpointSliceList"),
            Some("servicecidrs") => Self::List("ServiceCIDRList"),
            _ => Self::Other,
        }
    }

    /// The answer, if it is one. Any status but 200 says for itself what it is.
    pub(super) async fn check(self, answer: Response<Body>) -> Result<Response<Body>, kube::Error> {
        let Self::List(wanted) = self else { return Ok(answer) };
        if answer.status() != StatusCode::OK {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let Head { kind } = serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)?;
        if kind != wanted {
            return Err(kube::Error::Service(WrongKind { wanted, found: kind }.into()));
        }
        Ok(Response::from_parts(parts, Body::from(bytes.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, uri: &str) -> Asked {
        Asked::by(&Request::builder().method(method).uri(uri).body(Body::empty()).unwrap())
    }

    #[test]
    fn only_lists_are_to_be_of_a_kind() {
        let list = asked(Method::GET, "https://172.30.1.2:6443/api/v1/services?&limit=500");
        assert_eq!(list, Asked::List("ServiceList"));
        let watch = "https://172.30.1.2:6443/api/v1/services?&watch=true&resourceVersion=1";
        assert_eq!(asked(Method::GET, watch), Asked::Other);
        assert_eq!(asked(Method::GET, "https://172.30.1.2/api/v1/nodes/node01"), Asked::Other);
        assert_eq!(asked(Method::POST, "https://172.30.1.2/api/v1/nodes"), Asked::Other);
    }
}
