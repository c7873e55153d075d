//! Writes objects as `kubectl apply --server-side` does.

use futures_util::{StreamExt as _, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::api_server::resource_of;

/// How many objects are written at a time, where their order does not matter.
const AT_A_TIME: usize = 16;

/// One who may write everything.
pub(super) struct Writer {
    client: Client,
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sets objects, one after the other.
    pub(super) async fn apply(self, objects: &[Value]) {
        for object in objects {
            self.set(object).await;
        }
    }

    /// Sets objects, many at a time.
    pub(super) async fn apply_all(self, objects: &[Value]) {
        stream::iter(objects)
            .for_each_concurrent(AT_A_TIME, |object| async { self.set(object).await })
            .await;
    }

    /// Removes objects.
    pub(super) async fn delete(self, objects: &[Value]) {
        for object in objects {
            let (api, name) = self.place_of(object);
            if let Err(error) = api.delete(&name, &DeleteParams::default()).await {
                panic!("deleting {name}: {error}");
            }
        }
    }

    async fn set(&self, object: &Value) {
        let (api, name) = self.place_of(object);
        let params = PatchParams::apply("tests").force();
        let mut object = object.clone();
        // Of what is created, the server says when.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("creationTimestamp");
        }
        let status = object.as_object_mut().and_then(|fields| fields.remove("status"));
        if let Err(error) = api.patch(&name, &params, &Patch::Apply(&object)).await {
            panic!("writing {object}: {error}");
        }
        if let Some(status) = status {
            // Two addresses of a Node have one key: server-side apply takes none of them then.
            let status = json!({"status": status});
            let (params, patch) = (PatchParams::default(), Patch::Merge(&status));
            if let Err(error) = api.patch_status(&name, &params, &patch).await {
                panic!("writing the status of {name}, {status}: {error}");
            }
        }
    }

    fn place_of(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = GroupVersionKind::gvk(group, version, &kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, resource_of(object));
        let api = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        (api, text(&object["metadata"]["name"]))
    }
}
