//! The uid of an object, by which kubectl finds its events.
//!
//! The agent keeps none of them: an event is rare, and the API server is there when one is posted.

use std::fmt::Debug;

use k8s_openapi::api::{
    core::v1::Service, discovery::v1::EndpointSlice, networking::v1::ServiceCIDR,
};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::Regarding;
use crate::cluster::model::Kind;

/// `metadata.uid`; nothing where the API server does not tell. A list is asked for, which the agent
/// may do anyway, and not the object, which it may not.
pub(super) async fn of(client: &Client, regarding: &Regarding) -> Option<String> {
    match regarding.kind {
        // As the kubelet and kube-proxy have it.
        Kind::Node => Some(regarding.name.clone()),
        Kind::Service => listed::<Service>(client, regarding).await,
        Kind::EndpointSlice => listed::<EndpointSlice>(client, regarding).await,
        Kind::ServiceCidr => listed::<ServiceCIDR>(client, regarding).await,
        // No API server is asked for pods.
        Kind::Pod => None,
    }
}

async fn listed<K>(client: &Client, regarding: &Regarding) -> Option<String>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut fields = format!("metadata.name={}", regarding.name);
    if let Some(namespace) = &regarding.namespace {
        fields = format!("{fields},metadata.namespace={namespace}");
    }
    let parameters = ListParams::default().fields(&fields).match_any();
    let listed = Api::<K>::all(client.clone()).list_metadata(&parameters).await.ok()?;
    listed.items.into_iter().find_map(|object| object.metadata.uid)
}
