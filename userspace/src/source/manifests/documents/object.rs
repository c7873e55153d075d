//! From a parsed value to an object of ours.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};

use super::{Item, Refusal};
use crate::{
    cluster::model::{Kind, Object, ObjectName},
    source::validate::{self, FieldError},
};

const CORE: &str = "v1";
const DISCOVERY: &str = "discovery.k8s.io/v1";
const NETWORKING: &str = "networking.k8s.io/v1";

/// What an `apiVersion` and `kind` stand for.
enum Shape {
    Object(Kind),
    /// A list; the kind of its items where that is given by the list's own kind, in which case
    /// the items need not say it.
    List(Option<Kind>),
    Other,
}

/// Reads a value and, where it is a list, its items. `implied` is the items' kind where the list
/// around them says it.
pub(super) fn read_value(value: Value, implied: Option<Kind>, items: &mut Vec<Item>) {
    let mut object = match value {
        Value::Null => return,
        Value::Mapping(object) => object,
        _ => {
            let message = "it is no Kubernetes object: a mapping with apiVersion, kind and \
                           metadata is expected";
            items.push(Item::Refused(Box::new(Refusal::unknown_object(message))));
            return;
        }
    };
    let shape = match (text(&object, "apiVersion"), text(&object, "kind"), implied) {
        (None, None, Some(kind)) => Shape::Object(kind),
        (Some(api_version), Some(kind), _) => match shape(api_version, kind) {
            Shape::Other => {
                items.push(Item::Skipped(format!("{api_version} {kind}")));
                return;
            }
            shape => shape,
        },
        (api_version, _, _) => {
            let missing = if api_version.is_none() { "apiVersion" } else { "kind" };
            items.push(Item::Refused(Box::new(Refusal {
                field: Some(missing.to_owned()),
                ..Refusal::unknown_object(format!(
                    "it is no Kubernetes object: {missing} is missing, or is no text"
                ))
            })));
            return;
        }
    };
    match shape {
        Shape::Object(kind) => items.push(read_object(kind, object)),
        Shape::List(kind) => match object.remove("items") {
            None | Some(Value::Null) => {}
            Some(Value::Sequence(values)) => {
                for value in values {
                    read_value(value, kind, items);
                }
            }
            Some(_) => items.push(Item::Refused(Box::new(Refusal {
                field: Some("items".to_owned()),
                ..Refusal::unknown_object("it is no list: a sequence of objects is expected")
            }))),
        },
        Shape::Other => {}
    }
}

/// The kind that a list's own kind gives its items, `Some(None)` where they say it themselves;
/// nothing where this is no list.
#[expect(clippy::option_option, reason = "two questions: whether a list, and whether of one kind")]
pub(super) fn list_kind(api_version: &str, kind: &str) -> Option<Option<Kind>> {
    match shape(api_version, kind) {
        Shape::List(kind) => Some(kind),
        Shape::Object(_) | Shape::Other => None,
    }
}

/// The same of a list's value, whose items were taken out.
#[expect(clippy::option_option, reason = "as for `list_kind`")]
pub(super) fn list_kind_of(list: &Value) -> Option<Option<Kind>> {
    let list = list.as_mapping()?;
    list.get("items")?.as_null()?;
    list_kind(text(list, "apiVersion")?, text(list, "kind")?)
}

fn shape(api_version: &str, kind: &str) -> Shape {
    match (api_version, kind) {
        (CORE, "Node") => Shape::Object(Kind::Node),
        (CORE, "Pod") => Shape::Object(Kind::Pod),
        (CORE, "Service") => Shape::Object(Kind::Service),
        (DISCOVERY, "EndpointSlice") => Shape::Object(Kind::EndpointSlice),
        (NETWORKING, "ServiceCIDR") => Shape::Object(Kind::ServiceCidr),
        (CORE, "List") => Shape::List(None),
        (CORE, "NodeList") => Shape::List(Some(Kind::Node)),
        (CORE, "PodList") => Shape::List(Some(Kind::Pod)),
        (CORE, "ServiceList") => Shape::List(Some(Kind::Service)),
        (DISCOVERY, "EndpointSliceList") => Shape::List(Some(Kind::EndpointSlice)),
        (NETWORKING, "ServiceCIDRList") => Shape::List(Some(Kind::ServiceCidr)),
        _ => Shape::Other,
    }
}

fn read_object(kind: Kind, object: Mapping) -> Item {
    let name = claimed_name(kind, &object);
    let value = Value::Mapping(object);
    let result = match kind {
        Kind::Node => convert(value, validate::node).map(|node| Object::Node(Arc::new(node))),
        Kind::Pod => convert(value, validate::pod).map(|pod| Object::Pod(Arc::new(pod))),
        Kind::Service => {
            convert(value, validate::service).map(|service| Object::Service(Arc::new(service)))
        }
        Kind::EndpointSlice => convert(value, validate::endpoint_slice)
            .map(|slice| Object::EndpointSlice(Arc::new(slice))),
        Kind::ServiceCidr => {
            convert(value, validate::service_cidr).map(|cidr| Object::ServiceCidr(Arc::new(cidr)))
        }
    };
    match result {
        Ok(object) => Item::Valid(object),
        Err(error) => Item::Refused(Box::new(Refusal::object(kind, name, error))),
    }
}

/// Which object this would be, were it valid; the name is empty where it does not say.
fn claimed_name(kind: Kind, object: &Mapping) -> ObjectName {
    let metadata = object.get("metadata").and_then(Value::as_mapping);
    let read = |key| metadata.and_then(|metadata| text(metadata, key)).unwrap_or_default();
    match kind {
        Kind::Node => {
            ObjectName { namespace: String::new(), name: read("name").to_ascii_lowercase() }
        }
        Kind::ServiceCidr => ObjectName { namespace: String::new(), name: read("name").to_owned() },
        Kind::Pod | Kind::Service | Kind::EndpointSlice => {
            let namespace = read("namespace");
            let namespace = if namespace.is_empty() { "default" } else { namespace };
            ObjectName { namespace: namespace.to_owned(), name: read("name").to_owned() }
        }
    }
}

fn convert<K: DeserializeOwned, O>(
    value: Value,
    validate: impl FnOnce(&K) -> Result<O, FieldError>,
) -> Result<O, FieldError> {
    let object: K = serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        FieldError::new(field, error.into_inner().to_string())
    })?;
    validate(&object)
}

fn text<'a>(object: &'a Mapping, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}
