//! Whatever a manifest file says, it is read without a panic, what is refused is named, and what is
//! accepted compiles.

#[cfg(feature = "agent")]
mod reading;

#[cfg(feature = "agent")]
pub use self::reading::check;

/// The manifests of a real cluster, and small ones of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        include_str!("manifest/node.yaml"),
        include_str!("manifest/services.yaml"),
        include_str!("manifest/slices.yaml"),
        include_str!("manifest/pods.json"),
        include_str!("../../fixtures/real-cluster/services.yaml"),
        include_str!("../../fixtures/real-cluster/nodes.yaml"),
    ];
    let seed = |text: &str| [&[u8::from(text.starts_with('{')), 128][..], text.as_bytes()].concat();
    texts.into_iter().map(seed).collect()
}
