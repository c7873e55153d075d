//! The oracle: what kube-proxy's own rules do with real connections.
//!
//! The conformance table says what becomes of a packet. Here the same objects are compiled to the
//! rule sets that kube-proxy writes, in its iptables and its nftables mode, the kernel's own NAT
//! follows them, and real clients tell what came of it. shunt itself is asked in the same way.
//!
//! Two halves: texts without any effect ([`cluster`] to [`nftables`]), and the [`world`] that they
//! are loaded in.

pub mod answering;
pub mod client;
pub mod cluster;
pub mod endpoints;
pub mod iptables;
pub mod kube_proxy;
pub mod names;
pub mod nftables;
pub mod places;
pub mod ruling;
pub mod run;
pub mod shunt;
pub mod world;
