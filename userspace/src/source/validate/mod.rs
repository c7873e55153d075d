//! From Kubernetes' objects to ours: defaults filled in as the API server would, everything that is
//! read checked, everything else left alone.
//!
//! There may be no API server between the file and us, so its checks are made here: an object that
//! it would refuse is refused with the field's path, the value, and what is allowed.

mod endpoint_slice;
mod field;
mod metadata;
mod node;
mod pod;
mod service;
mod service_cidr;
mod shared_names;

pub use self::{
    endpoint_slice::endpoint_slice, field::FieldError, metadata::object_name, node::node, pod::pod,
    service::service, service_cidr::service_cidr,
};
