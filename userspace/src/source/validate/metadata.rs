//! Names.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{cluster::model::ObjectName, source::validate::FieldError};

/// The longest name of a file, and so of a network namespace, in bytes (`NAME_MAX`).
pub(super) const LONGEST_FILE_NAME: usize = 255;

/// The namespace (`default` where it is left out) and name of a namespaced object.
///
/// Both become parts of paths, so nothing but a DNS label and a DNS subdomain (RFC 1123) will do.
pub fn object_name(metadata: &ObjectMeta) -> Result<ObjectName, FieldError> {
    let namespace = match metadata.namespace.as_deref() {
        None | Some("") => "default",
        Some(namespace) => namespace,
    };
    if namespace.len() > 63 || !is_label(namespace) {
        return Err(not_a_name("metadata.namespace", namespace, "a DNS label of at most 63"));
    }
    let name = subdomain("metadata.name", metadata.name.as_deref().unwrap_or_default())?;
    Ok(ObjectName { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// Passes a DNS subdomain, which is what objects and nodes are called.
pub(super) fn subdomain<'a>(field: &str, name: &'a str) -> Result<&'a str, FieldError> {
    if name.len() <= 253 && name.split('.').all(is_label) {
        Ok(name)
    } else {
        Err(not_a_name(field, name, "a DNS name of at most 253"))
    }
}

/// Passes one label of a host's name; an empty one is none.
pub(super) fn host_label(field: &str, name: Option<&str>) -> Result<Option<String>, FieldError> {
    match name {
        None | Some("") => Ok(None),
        Some(name) if name.len() <= 63 && is_label(name) => Ok(Some(name.to_owned())),
        Some(name) => Err(not_a_name(field, name, "a DNS label of at most 63")),
    }
}

/// When the object was created.
pub(super) fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// A label's value.
pub(super) fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// An annotation's value.
pub(super) fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| plain(*byte))
        && bytes.last().is_some_and(|byte| plain(*byte))
        && bytes.iter().all(|byte| plain(*byte) || *byte == b'-')
}

fn not_a_name(field: &str, value: &str, what: &str) -> FieldError {
    FieldError::new(
        field,
        format!(
            "{value:?} is no name: it must be {what} characters: lower-case letters, digits and \
             '-', beginning and ending with a letter or digit"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(namespace: Option<&str>, name: &str) -> Result<String, String> {
        let metadata = ObjectMeta {
            namespace: namespace.map(str::to_owned),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        object_name(&metadata).map(|name| name.to_string()).map_err(|error| error.field)
    }

    #[test]
    fn the_namespace_is_default_where_it_is_left_out() {
        assert_eq!(named(None, "web"), Ok("default/web".to_owned()));
        assert_eq!(named(Some(""), "web"), Ok("default/web".to_owned()));
        assert_eq!(named(Some("shop"), "web-1.a"), Ok("shop/web-1.a".to_owned()));
    }

    #[test]
    fn names_that_could_leave_a_directory_are_refused() {
        for name in ["../x", "", ".", "..", "a/b", "a..b", "A", "-a", "a-", "a b", "a\n", "ä"] {
            assert_eq!(named(None, name), Err("metadata.name".to_owned()), "{name:?}");
        }
        for namespace in ["../x", "a.b", "A", "-", &"a".repeat(64)] {
            assert_eq!(named(Some(namespace), "web"), Err("metadata.namespace".to_owned()));
        }
        assert_eq!(named(None, &"a".repeat(254)), Err("metadata.name".to_owned()));
    }
}
