//! A container image, as the OCI's image specification has it: an archive of an image layout.
//!
//! Beside `index.json` there is the `manifest.json` of `docker save`, so that every engine's `load`
//! takes it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tree::{Mode, Timestamp, Tree, gzip};

/// What an image says of itself.
#[derive(Clone, Debug)]
pub(super) struct Image<'a> {
    /// Its name, with its tag.
    pub(super) name: &'a str,
    /// The version of what is inside.
    pub(super) version: &'a str,
    /// The commit that it was built from.
    pub(super) revision: &'a str,
    /// The architecture, as Go calls it.
    pub(super) architecture: &'a str,
    /// Its files, which make its one layer.
    pub(super) files: Tree,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The archive of an image.
pub(super) fn archive(image: &Image<'_>, time: Timestamp) -> Result<Vec<u8>> {
    let mut layout = Layout::default();
    let layer = image.files.to_tar("", time)?;
    let diff_id = digest(&layer);
    let layer = layout.add(LAYER, gzip(&layer)?);
    let config = layout.add_json(CONFIG, &config(image, &diff_id))?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": annotations(image),
    });
    let mut manifest = layout.add_json(MANIFEST, &manifest)?;
    manifest["platform"] = json!({"architecture": image.architecture, "os": "linux"});
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": image.name,
        "io.containerd.image.name": image.name,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let of_docker = json!([{
        "Config": blob_path(&config),
        "RepoTags": [image.name],
        "Layers": [blob_path(&layer)],
    }]);
    let mut files = layout.files;
    files.add("oci-layout", Mode::Data, json!({"imageLayoutVersion": "1.0.0"}).to_string());
    files.add("index.json", Mode::Data, index.to_string());
    files.add("manifest.json", Mode::Data, of_docker.to_string());
    files.to_tar("", time)
}

fn config(image: &Image<'_>, diff_id: &str) -> Value {
    json!({
        "architecture": image.architecture,
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/local/bin/shunt"],
            "Env": ["PATH=/usr/local/bin"],
            "WorkingDir": "/",
            "Labels": annotations(image),
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "cargo xtask dist"}],
    })
}

fn annotations(image: &Image<'_>) -> Value {
    json!({
        "org.opencontainers.image.title": "shunt",
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
        "org.opencontainers.image.version": image.version,
        "org.opencontainers.image.revision": image.revision,
    })
}

/// The blobs of an image layout.
#[derive(Default)]
struct Layout {
    files: Tree,
}

impl Layout {
    /// Adds a blob; returns its descriptor.
    fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let (digest, size) = (digest(&content), content.len());
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": size});
        self.files.add(blob_path(&descriptor), Mode::Data, content);
        descriptor
    }

    fn add_json(&mut self, media_type: &str, content: &Value) -> Result<Value> {
        let content = serde_json::to_vec(content).context("writing JSON")?;
        Ok(self.add(media_type, content))
    }
}

fn blob_path(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    format!("blobs/{}", digest.replace(':', "/"))
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", sha256(content))
}

/// The SHA-256 of a content, in hexadecimal digits.
pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    fn small() -> Image<'static> {
        let mut files = Tree::default();
        files.add("usr/local/bin/shunt", Mode::Program, "program");
        Image {
            name: "shunt.dev/shunt:1.2.3",
            version: "1.2.3",
            revision: "abc",
            architecture: "amd64",
            files,
        }
    }

    fn read(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().display().to_string(), content)
            })
            .collect()
    }

    #[test]
    fn every_descriptor_leads_to_a_blob_of_its_digest_and_size() {
        let files = read(&archive(&small(), Timestamp::from_secs(7)).unwrap());
        let json = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
        let follow = |descriptor: &Value| {
            let path = blob_path(descriptor);
            assert_eq!(digest(&files[&path]), descriptor["digest"].as_str().unwrap());
            assert_eq!(files[&path].len() as u64, descriptor["size"].as_u64().unwrap());
            path
        };
        let manifest = json(&follow(&json("index.json")["manifests"][0]));
        let config = json(&follow(&manifest["config"]));
        let layer = follow(&manifest["layers"][0]);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&files[&layer][..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&unpacked));
        assert_eq!(read(&unpacked)["usr/local/bin/shunt"], b"program");
        assert_eq!(json("manifest.json")[0]["Layers"][0], layer);
        assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        let image = |seconds| archive(&small(), Timestamp::from_secs(seconds)).unwrap();
        assert_eq!(image(7), image(7));
        assert_ne!(image(7), image(8));
    }

    #[test]
    fn a_digest_is_that_of_sha256() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), known);
    }
}
